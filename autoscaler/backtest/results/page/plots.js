"use strict";

// The three plots of the page.

// The palette of Okabe and Ito, which is safe for colour-blind readers, without its yellow.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const MARKS = ["circle", "square", "diamond", "triangle-up"];
const FONT = { family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", size: 13, color: "#1d2630" };
const GRID = { gridcolor: "#e8ecf0", zeroline: false, linecolor: "#b6bfc9", automargin: true };
const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
  // No button sends data to a server.
  showSendToCloud: false,
  plotlyServerURL: "",
};
const MARGIN = { l: 70, r: 20, t: 20, b: 55 };
const NARROW_BELOW_PX = 600;
const NEVER_SERVED_MARK = "x";
const MIN_WAIT_S = 0.001;
// Fraction of the error budget at which the axis ends; smaller fractions need not be distinguished.
const MIN_BUDGET_FRACTION = 0.01;

// Policies that are shown at first have the first colours, which differ most from each other.
function styles(data) {
  const ordered = [...data.policies].sort((one, other) => other.shown - one.shown);
  const coloured = ordered.filter((policy) => policy.name !== data.oracle);
  const found = new Map(
    coloured.map((policy, n) => {
      const turn = Math.floor(n / COLOURS.length);
      return [policy.name, {
        colour: COLOURS[n % COLOURS.length],
        dash: DASHES[turn % DASHES.length],
        mark: MARKS[turn % MARKS.length],
      }];
    }),
  );
  return found.set(data.oracle, { colour: "#000000", dash: "dot", mark: "star" });
}

function layout(more) {
  return {
    font: FONT,
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    margin: MARGIN,
    hoverlabel: { font: { size: 12 } },
    ...more,
  };
}

function drawMatrix(element, data, pairs, budget, choose) {
  const cells = pairs.map((pair) =>
    data.policies.map(({ name }) => (pair.policies[name] ? defaultPoint(pair.policies[name]) : null)),
  );
  const each = (write) => cells.map((row) => row.map((point) => (point ? write(point) : null)));
  const bounded = (figure) => Math.min(2, Math.max(-2, figure));
  Plotly.react(element, [{
    type: "heatmap",
    x: data.policies.map(({ name }) => plain(name)),
    y: pairs.map((pair) => plain(pair.trace)),
    z: each((point) => bounded(Math.log10(drawnFraction(point) / budget))),
    text: each((point) => hours(point.allocation_hours.value)),
    customdata: each((point) => `${percent(point.violation_fraction.value)} late`),
    texttemplate: "%{text}",
    hovertemplate: "%{y}<br><b>%{x}</b><br>%{customdata}<br>%{text} allocation-hours<extra></extra>",
    hoverongaps: false,
    zmin: -2,
    zmax: 2,
    xgap: 2,
    ygap: 2,
    colorscale: [[0, "#2a6fb0"], [0.5, "#cfe0ee"], [0.5, "#fad9bd"], [1, "#b64d05"]],
    colorbar: {
      title: { text: "late", side: "top" },
      thickness: 12,
      lenmode: "pixels",
      len: 170,
      y: 1,
      yanchor: "top",
      tickvals: [-2, -1, 0, 1, 2],
      ticktext: [-2, -1, 0, 1, 2].map((power) => {
        const sign = power === -2 ? "≤ " : power === 2 ? "≥ " : "";
        return sign + percent(Math.min(1, budget * 10 ** power));
      }),
    },
  }], layout({
    height: Math.max(320, 190 + 26 * pairs.length),
    margin: { l: 20, r: 20, t: 20, b: 20 },
    xaxis: { type: "category", side: "top", tickangle: -40, automargin: true, fixedrange: true },
    yaxis: { type: "category", autorange: "reversed", automargin: true, ticksuffix: "  ", fixedrange: true },
  }), CONFIG);
  element.removeAllListeners("plotly_click");
  element.on("plotly_click", (event) => choose(event.points[0].pointNumber[0]));
}

function isNarrow(element) {
  return element.clientWidth < NARROW_BELOW_PX;
}

// Beside the plot where it is wide enough, and otherwise below it, which makes the plot higher.
function legendOf(element, height, names) {
  const legend = { tracegroupgap: 0, itemwidth: 40 };
  if (!isNarrow(element)) return { height, legend };
  const room = 22 * Math.ceil(names / 2); // two fit beside each other
  return {
    height: height + room,
    legend: { ...legend, orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
    margin: { ...MARGIN, b: MARGIN.b + room },
  };
}

function drawTime(element, data, pair, maxWait, style) {
  const limit = Math.max(maxWait, MIN_WAIT_S);
  const at = pair.offered_load.map((_, n) => (n * (pair.step_s ?? 0)) / 3600);
  const drawn = data.policies.filter(({ name }) => pair.timelines[name]);
  const longest = Math.max(limit, ...drawn.flatMap(({ name }) => pair.timelines[name].wait_p99_s));
  const traces = [{
    x: at,
    y: pair.offered_load,
    name: "offered load",
    mode: "lines",
    fill: "tozeroy",
    fillcolor: "#e4e8ed",
    line: { color: "#aab3bd", width: 1 },
    hovertemplate: "%{y:.1f}",
  }];
  for (const { name, shown } of drawn) {
    traces.push(...timelineOf(name, pair.timelines[name], at, style.get(name), shown, 3 * longest));
  }
  const line = { type: "line", xref: "paper", x0: 0, x1: 1, yref: "y2", y0: limit, y1: limit };
  Plotly.react(element, traces, layout({
    hovermode: "x unified",
    ...legendOf(element, 680, drawn.length + 1),
    xaxis: { ...GRID, title: { text: "hours since the start" }, anchor: "y2", ...hourAxis(pair, at) },
    yaxis: { ...GRID, title: { text: "allocations" }, domain: [0.42, 1], rangemode: "tozero" },
    yaxis2: { ...GRID, title: { text: "p99 queue wait" }, domain: [0, 0.36], type: "log", ...secondsAxis(longest) },
    shapes: [{ ...line, line: { color: "#1d2630", width: 1, dash: "dash" } }],
    // Beside the plot where there is room, because the lines cover most of it.
    annotations: [note(`max queue wait<br>${seconds(limit)}`, {
      xref: "paper", yref: "y2", y: Math.log10(limit),
      ...(isNarrow(element)
        ? { x: 1, xanchor: "right", yanchor: "bottom", align: "right" }
        : { x: 1.01, xanchor: "left", yanchor: "middle", align: "left" }),
    })],
  }), CONFIG);
}

function timelineOf(name, timeline, at, style, shown, ceiling) {
  const common = {
    x: at,
    name: plain(name),
    legendgroup: name,
    zorder: style.mark === "star" ? 1 : 2,
    visible: shown ? true : "legendonly",
    line: { color: style.colour, dash: style.dash, width: 2, shape: "hv" },
  };
  const neverServed = timeline.wait_p99_s.map((wait, n) => (wait === null && timeline.violations[n] > 0 ? ceiling : null));
  return [
    {
      ...common,
      y: timeline.requested,
      mode: "lines",
      customdata: timeline.running,
      hovertemplate: "%{y:.3~g} (running %{customdata:.3~g})",
    },
    {
      ...common,
      y: timeline.wait_p99_s.map((wait) => (wait === null ? null : Math.max(wait, MIN_WAIT_S))),
      mode: "lines",
      yaxis: "y2",
      showlegend: false,
      customdata: timeline.wait_p99_s.map(seconds),
      hovertemplate: "%{customdata}",
      line: { ...common.line, width: 1.5 },
    },
    {
      ...common,
      y: neverServed,
      mode: "markers",
      yaxis: "y2",
      showlegend: false,
      marker: { symbol: NEVER_SERVED_MARK, color: style.colour, size: 7 },
      hovertemplate: "never served",
    },
  ];
}

function hourAxis(pair, at) {
  const end = (at.length * (pair.step_s ?? 0)) / 3600;
  return { range: [0, end], ...(end > 6 && end <= 36 ? { dtick: 3 } : {}) };
}

function secondsAxis(longest) {
  const ticks = [0.001, 0.01, 0.1, 1, 10, 100, 1000, 10000];
  const range = [Math.log10(0.7 * MIN_WAIT_S), Math.log10(5 * longest)];
  return { tickvals: ticks, ticktext: ["≤ 1 ms", ...ticks.slice(1).map(seconds)], range };
}

function drawFrontier(element, data, pair, budget, style) {
  const swept = data.policies.filter(({ name }) => pair.policies[name]);
  const lowest = budget * MIN_BUDGET_FRACTION;
  const fractionOf = (point) => Math.max(drawnFraction(point), lowest);
  const fractions = swept.flatMap(({ name }) => pair.policies[name].points.map(fractionOf));
  const traces = swept.flatMap(({ name, shown }) =>
    frontierOf(name, pair.policies[name], style.get(name), shown || name === data.oracle, fractionOf),
  );
  const range = [Math.log10(lowest / 1.4), Math.log10(Math.max(budget, ...fractions) * 1.4)];
  const ticks = [1, 0.1, 0.01, 0.001, 0.0001, 0.00001].filter((fraction) => fraction > 1.5 * lowest);
  const line = { type: "line", xref: "paper", x0: 0, x1: 1, y0: budget, y1: budget };
  Plotly.react(element, traces, layout({
    hovermode: "closest",
    ...legendOf(element, 560, swept.length),
    xaxis: { ...GRID, title: { text: "allocation-hours" } },
    yaxis: {
      ...GRID, title: { text: "late requests" }, type: "log", range,
      tickvals: [...ticks, lowest], ticktext: [...ticks.map(percent), `≤ ${percent(lowest)}`],
    },
    shapes: [{ ...line, line: { color: "#1d2630", width: 1, dash: "dash" } }],
    annotations: [note(`error budget ${percent(budget)}`, { xref: "paper", x: 1, y: Math.log10(budget) })],
  }), CONFIG);
}

function frontierOf(name, policy, style, prominent, fractionOf) {
  const star = style.mark === "star";
  const drawn = (points, more) => ({
    x: points.map((point) => point.allocation_hours.value),
    y: points.map(fractionOf),
    name: plain(name),
    legendgroup: name,
    customdata: points.map((point) => [
      plain(point.setting || "no setting"),
      plusMinus(point.violation_fraction, percent),
      plusMinus(point.allocation_hours, hours),
    ]),
    hovertemplate: `<b>${plain(name)}</b> %{customdata[0]}<br>%{customdata[1]} late<br>%{customdata[2]} allocation-hours<extra></extra>`,
    opacity: prominent ? 1 : 0.6,
    ...more,
  });
  const marker = { symbol: style.mark, color: style.colour, size: star ? 15 : prominent ? 8 : 6 };
  return [
    drawn(policy.points.filter((point) => point.efficient), {
      mode: "lines+markers",
      line: { color: style.colour, dash: style.dash, width: prominent ? 2.5 : 1.2 },
      marker,
    }),
    drawn(policy.points.filter((point) => !point.efficient), {
      mode: "markers", marker, opacity: 0.3, showlegend: false,
    }),
    drawn(policy.points.filter((point) => point.default && !star), {
      mode: "markers",
      marker: { symbol: "circle-open", color: style.colour, size: 15, line: { width: 1.5 } },
      showlegend: false,
      hoverinfo: "skip",
      hovertemplate: null,
    }),
  ];
}

function note(text, where) {
  return {
    text, showarrow: false, xanchor: "right", yanchor: "bottom",
    font: { size: 12, color: "#5c6773" }, ...where,
  };
}
