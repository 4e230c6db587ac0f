"use strict";

// How figures and names are written.

const NONE = "–";

// Plotly takes labels for a kind of HTML; names are plain text.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function hours(figure) {
  return figure < 9.95 ? figure.toFixed(1) : Math.round(figure).toLocaleString("en");
}

// A share in percent, with two significant digits; none at all is told from very few.
function percent(share) {
  if (share === 0) return "0 %";
  return `${Number((100 * share).toPrecision(2))} %`;
}

function seconds(wait) {
  if (wait === null) return NONE;
  if (wait < 0.001) return "< 1 ms";
  return wait < 1 ? `${Math.round(1000 * wait)} ms` : `${Number(wait.toPrecision(3))} s`;
}

function plusMinus(mean, write) {
  const width = mean.half_width === null ? "" : ` ± ${write(mean.half_width)}`;
  return write(mean.value) + width;
}

// What is drawn in place of no misses, for which a logarithmic axis has no room.
function drawnShare(point) {
  return Math.max(point.violation_fraction.value, 0.5 / Math.max(point.requests, 1));
}

// The point of a policy that stands for it: as shipped, or its first where that was not tried.
function asShipped(policy) {
  return policy.points.find((point) => point.default) ?? policy.points[0];
}
