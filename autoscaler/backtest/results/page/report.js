"use strict";

// The selection, and the parts of the page that depend on it.

window.addEventListener("error", (event) => {
  const alert = document.getElementById("error");
  alert.hidden = false;
  alert.textContent = `This page could not be drawn: ${event.message}`;
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
    const { facts, slo_target: target } = chosen();
    const previous = trace.value;
    fillList(by("facts"), Object.entries(facts));
    offer(trace, pairs().map((pair) => pair.trace));
    if (pairs().some((pair) => pair.trace === previous)) trace.value = previous;
    drawMatrix(by("matrix"), data, pairs(), errorBudget(target), choose);
    const summary = data.summaries[scenario.value];
    drawSummary(by("summary"), summary, data, style);
    drawSplit(by("split-section"), by("split"), data.splits[scenario.value], data, style);
    by("infeasible").textContent = summary.infeasible.length
      ? `No policy meets the SLO on these, so the table excludes them: ${summary.infeasible.map(([name]) => name).join(", ")}.`
      : "";
    drawTrace();
  }

  function drawTrace() {
    const choices = data.choices.filter((each) => each.scenario === scenario.value);
    drawChoices(by("choice-section"), by("choices"), choices, pairs()[trace.selectedIndex]);
    const { slo_target: target, slo_wait_s: limit } = chosen();
    const pair = pairs()[trace.selectedIndex];
    by("chosen").textContent = pair.trace;
    by("previous").disabled = trace.selectedIndex === 0;
    by("next").disabled = trace.selectedIndex === trace.length - 1;
    drawTime(by("time"), data, pair, limit, style);
    drawFrontier(by("frontier"), data, pair, errorBudget(target), style);
    drawFigures(by("figures"), pair, data, target, style);
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
  by("notes").textContent = data.notes.join(" ");
  drawScenario();
}

function offer(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
}

// The fraction of requests that may be late, above zero, because scales are logarithmic.
function errorBudget(target) {
  return Math.max(1 - target, 1e-6);
}

start();
