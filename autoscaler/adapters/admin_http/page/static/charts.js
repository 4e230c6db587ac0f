"use strict";
// The charts of one deployment. All share the time axis and the cursor; a dashed line marks a
// decision.
(() => {
  const root = document.getElementById("charts");
  if (!root) return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const MAX_POINTS = 4000;
  const CHARTS = [
    ["Arrivals per second", [["arrival_rate_per_s", "arrivals", "line"]]],
    ["Offered load, erlangs, with two standard deviations", [
      ["load_high", "above", "band"], ["load_low", "below", "band"],
      ["offered_load", "offered load", "line"], ["forecast_load", "forecast", "dash"],
    ]],
    ["Allocations", [
      ["recommended", "recommended", "step3"], ["requested", "requested", "step2"], ["running", "running", "step"],
    ]],
    ["Requests in flight and backlog", [["in_flight", "in flight", "line"], ["backlog_requests", "backlog", "dash"]]],
    ["Expected queue wait at the SLO target, seconds", [["queue_wait_s", "expected wait", "line"]]],
  ];
  const MARKED = new Set(["update", "external_change", "instruction"]);
  let series = null, plots = [], marks = [];

  function derived(name) {
    if (name !== "load_high" && name !== "load_low") return series.values[name];
    const sign = name === "load_high" ? 2 : -2;
    return series.values.offered_load.map((load, i) => {
      const deviation = series.values.load_stddev[i];
      return load === null || deviation === null ? null : Math.max(0, load + sign * deviation);
    });
  }

  function colours() {
    return dark.matches
      ? { axis: "#a3aebd", grid: "#343d4a", line: "#6ea4f5", dash: "#ffc777", step: "#7fd8a1", step2: "#c9a6ff", step3: "#ffc777", band: "rgba(110,164,245,.22)", mark: "#ff9d94" }
      : { axis: "#566173", grid: "#e3e6eb", line: "#1f5fbf", dash: "#b06a00", step: "#1a6b3a", step2: "#7a3fc4", step3: "#b06a00", band: "rgba(31,95,191,.16)", mark: "#b3261e" };
  }

  function known(value) {
    return value === null || value === undefined ? "unknown" : String(+value.toPrecision(4));
  }

  function two(number) {
    return String(number).padStart(2, "0");
  }

  function clock(at, seconds) {
    const time = new Date(at * 1000);
    const minutes = `${two(time.getUTCHours())}:${two(time.getUTCMinutes())}`;
    return seconds ? `${minutes}:${two(time.getUTCSeconds())}` : minutes;
  }

  function lineOf([, label, kind], colour) {
    const stepped = kind.startsWith("step") ? uPlot.paths.stepped({ align: 1 }) : undefined;
    return {
      label, paths: stepped, points: { show: false }, spanGaps: false,
      stroke: kind === "band" ? "transparent" : colour[kind], width: kind === "band" ? 0 : 2,
      dash: kind === "dash" || kind === "step3" ? [6, 4] : undefined,
      value: (plot, value, line, index) => known(index === null ? plot.data[line].at(-1) : value),
    };
  }

  function drawMarks(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour.mark;
    ctx.setLineDash([2, 4]);
    for (const mark of marks) {
      const x = plot.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function build([title, lines], position) {
    const colour = colours(), figure = document.createElement("figure");
    figure.className = lines[0][2] === "band" ? "chart banded" : "chart";
    const caption = figure.appendChild(document.createElement("figcaption"));
    caption.textContent = title;
    root.appendChild(figure);
    const axis = { stroke: colour.axis, grid: { stroke: colour.grid, width: 1 }, ticks: { stroke: colour.grid } };
    const plot = new uPlot({
      title, width: Math.max(240, figure.clientWidth - 16), height: 190,
      cursor: { sync: { key: "charts" }, drag: { x: true, y: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, space: 60, values: (_, splits, __, ___, step) => splits.map((at) => clock(at, step < 60)) }, { ...axis, size: 52 }],
      series: [{ label: "UTC", value: (plot, at, _, index) => clock(index === null ? plot.data[0].at(-1) ?? 0 : at, true) }, ...lines.map((line) => lineOf(line, colour))],
      bands: lines[0][2] === "band" ? [{ series: [1, 2], fill: colour.band }] : [],
      hooks: { draw: [(drawn) => drawMarks(drawn, colour)] },
    }, [[]], figure);
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", `Chart: ${title}. The table of the latest figures has the values.`);
    plots[position] = plot;
  }

  function show() {
    CHARTS.forEach(([, lines], i) => {
      plots[i].setData([series.at, ...lines.map(([name]) => derived(name))]);
      plots[i].setLegend({ idx: plots[i].cursor.idx ?? null });
    });
  }

  function rebuild() {
    plots.forEach((plot) => plot.destroy());
    root.replaceChildren();
    plots = [];
    CHARTS.forEach(build);
    show();
  }

  function add(more) {
    if (!series) return;
    const last = series.at.length ? series.at[series.at.length - 1] : -Infinity;
    more.at.forEach((at, i) => {
      if (at <= last) return;
      series.at.push(at);
      for (const name of Object.keys(series.values)) series.values[name].push(more.values[name][i]);
    });
    const excess = series.at.length - MAX_POINTS;
    if (excess > 0) {
      series.at.splice(0, excess);
      for (const name of Object.keys(series.values)) series.values[name].splice(0, excess);
    }
    show();
  }

  async function load() {
    try {
      const response = await fetch(root.dataset.series);
      if (!response.ok) throw new Error(String(response.status));
      series = await response.json();
      rebuild();
      findMarks();
    } catch {
      if (!series) root.textContent = "The figures of the charts cannot be read now.";
    }
  }

  // What happened is in the table below the charts, which each event renews.
  function findMarks() {
    marks = [...document.querySelectorAll("[data-at]")]
      .filter((row) => MARKED.has(row.dataset.kind))
      .map((row) => ({ at: Number(row.dataset.at) }));
    plots.forEach((plot) => plot.redraw(false));
  }

  document.addEventListener("points", (event) => {
    add(event.detail);
    findMarks();
  });
  document.addEventListener("stale-charts", load);
  dark.addEventListener("change", () => series && rebuild());
  let resizing = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(() => plots.forEach((plot) => {
      const width = Math.max(240, plot.root.parentElement.clientWidth - 16);
      if (width !== plot.width) plot.setSize({ width, height: 190 });
    }));
  }).observe(root);
  load();
})();
