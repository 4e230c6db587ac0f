"use strict";

// Formats of figures and names.

const NONE = "–";

// Plotly interprets labels as a subset of HTML; names are plain text.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function hours(figure) {
  return figure < 9.95 ? figure.toFixed(1) : Math.round(figure).toLocaleString("en");
}

// A fraction in percent, with two significant digits; only 0 is shown as 0%.
function percent(fraction) {
  if (fraction === 0) return "0%";
  return `${Number((100 * fraction).toPrecision(2))}%`;
}

const UNITS = [[86400, 2, "d"], [3600, 2, "h"], [60, 2, "min"], [1, 1, "s"]];

// A queue wait, in the style of all other texts of the program.
function seconds(wait) {
  if (wait === null) return NONE;
  if (wait < 0.001) return "< 1 ms";
  const [size, , unit] = UNITS.find(([each, smallest]) => wait >= smallest * each) ?? [0.001, 1, "ms"];
  const count = wait / size;
  return `${count < 10 ? Number(count.toPrecision(2)) : Math.round(count)} ${unit}`;
}

function plusMinus(mean, write) {
  const width = mean.half_width === null ? "" : ` ± ${write(mean.half_width)}`;
  return write(mean.value) + width;
}

// The violation fraction; no violations count as half a request, for the logarithmic axis.
function drawnFraction(point) {
  return Math.max(point.violation_fraction.value, 0.5 / Math.max(point.requests, 1));
}

// The point at the default setting, or the first point if that was not tried.
function defaultPoint(policy) {
  return policy.points.find((point) => point.default) ?? policy.points[0];
}
