"use strict";

// What is chosen, and what is drawn of it.

window.addEventListener("error", (event) => {
  const told = document.getElementById("error");
  told.hidden = false;
  told.textContent = `This page could not be drawn: ${event.message}`;
});

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const style = styles(data);
  const scenario = by("scenario");
  const trace = by("trace");

  const pairs = () => data.pairs.filter((pair) => pair.scenario === scenario.value);
  const chosen = () => data.scenarios.find(({ name }) => name === scenario.value);

  function drawScenario() {
    const { facts, slo_target: share } = chosen();
    const kept = trace.value;
    fillList(by("facts"), Object.entries(facts));
    offer(trace, pairs().map((pair) => pair.trace));
    if (pairs().some((pair) => pair.trace === kept)) trace.value = kept;
    drawMatrix(by("matrix"), data, pairs(), allowed(share), choose);
    const summary = data.summaries[scenario.value];
    drawSummary(by("summary"), summary, data, style);
    by("beyond").textContent = summary.beyond_all.length
      ? `Not even the clairvoyant holds these, so they are left out of the table: ${summary.beyond_all.map(([name]) => name).join(", ")}.`
      : "";
    drawTrace();
  }

  function drawTrace() {
    const { slo_target: share, slo_wait_s: limit } = chosen();
    const pair = pairs()[trace.selectedIndex];
    by("chosen").textContent = pair.trace;
    by("previous").disabled = trace.selectedIndex === 0;
    by("next").disabled = trace.selectedIndex === trace.length - 1;
    drawTime(by("time"), data, pair, limit, style);
    drawFrontier(by("frontier"), data, pair, allowed(share), style);
    drawFigures(by("figures"), pair, data, share, style);
  }

  function choose(index) {
    trace.selectedIndex = index;
    drawTrace();
    by("chosen").scrollIntoView({ block: "center" });
  }

  scenario.addEventListener("change", drawScenario);
  trace.addEventListener("change", drawTrace);
  by("previous").addEventListener("click", () => { trace.selectedIndex -= 1; drawTrace(); });
  by("next").addEventListener("click", () => { trace.selectedIndex += 1; drawTrace(); });

  offer(scenario, data.scenarios.map(({ name }) => name));
  fillList(by("policies"), data.policies.map(({ name, about }) => [name, about]));
  drawScenario();
}

function offer(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
}

// The share that may miss, not quite zero: it is the middle of logarithmic scales.
function allowed(share) {
  return Math.max(1 - share, 1e-6);
}

start();
