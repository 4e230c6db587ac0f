"use strict";

// Tables and lists. All text is set as text, never as HTML.

function element(kind, text = "", classes = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

// A table of rows of cells; a cell is a text, or a text with a class.
function fillTable(table, headings, rows) {
  const head = element("thead");
  head.append(rowOf("th", headings));
  const body = element("tbody");
  body.append(...rows.map((cells) => rowOf("td", cells)));
  table.replaceChildren(head, body);
}

function rowOf(kind, cells) {
  const row = element("tr");
  row.append(...cells.map((cell) => {
    if (cell instanceof Node) return cell;
    return typeof cell === "string" ? element(kind, cell) : element(kind, cell.text, cell.classes);
  }));
  return row;
}

function fillList(list, entries) {
  list.replaceChildren(...entries.flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
}

function swatched(name, style) {
  const cell = element("td");
  const swatch = element("span", "", "swatch");
  swatch.style.background = style.get(name).colour;
  cell.append(swatch, name);
  return cell;
}

function drawSummary(table, summary, data, style) {
  const references = [...new Set(summary.policies.flatMap((each) => Object.keys(each.relative_cost)))];
  const of = (part, whole) => (part === null ? NONE : `${part} of ${whole}`);
  fillTable(
    table,
    ["policy", "SLO met, default", "SLO met, best setting", "best setting",
      ...references.map((name) => `hours, × ${name}`)],
    inOrder(summary.policies, data, (each) => each.policy).map((each) => [
      swatched(each.policy, style),
      of(each.met_by_default, each.pairs),
      of(each.met_by_best, each.pairs),
      each.met_by_best ? each.best_setting || NONE : NONE,
      ...references.map((name) => {
        const ratio = each.relative_cost[name];
        return ratio ? `${ratio.value.toFixed(2)} (${ratio.pairs})` : NONE;
      }),
    ]),
  );
}

// The split of the hours of each policy; nothing where the references are missing.
function drawSplit(section, table, splits, data, style) {
  section.hidden = splits.length === 0;
  fillTable(
    table,
    ["policy", "SLO met", "hours, × oracle", "chance", "rate", "policy"],
    inOrder(splits, data, (each) => each.policy).map((each) => [
      swatched(each.policy, style),
      `${each.met} of ${each.pairs}`,
      ...[each.hours, each.chance, each.rate, each.policy_factor].map((factor) => factor.toFixed(2)),
    ]),
  );
}

function drawFigures(table, pair, data, target, style) {
  const names = data.policies.map(({ name }) => name).filter((name) => pair.policies[name]);
  const compared = data.adaptive in pair.policies;
  fillTable(
    table,
    ["policy", "setting", "late", "late requests", "p95 wait", "p99 wait", "allocation-hours",
      "changes per hour", "reversals", "hours at the SLO target",
      ...(compared ? [`late at the hours of ${data.adaptive}`] : [])],
    names.map((name) => {
      const policy = pair.policies[name];
      const point = defaultPoint(policy);
      const met = point.violation_fraction.value <= 1 - (point.slo_target ?? target) + 1e-9;
      return [
        swatched(name, style),
        point.setting || NONE,
        { text: plusMinus(point.violation_fraction, percent), classes: met ? "met" : "violated" },
        Math.round(point.violations.value).toLocaleString("en"),
        seconds(point.wait_p95_s),
        seconds(point.wait_p99_s),
        plusMinus(point.allocation_hours, hours),
        point.changes_per_hour.value.toFixed(1),
        Math.round(point.reversals.value).toLocaleString("en"),
        bounded(policy.cost, (cost) => hours(cost.allocation_hours)),
        ...(compared ? [bounded(policy.violations_at_adaptive_cost, (at) => percent(at.fraction))] : []),
      ];
    }),
  );
}

function bounded(figure, write) {
  if (figure === null) return NONE;
  return (figure.beyond_sweep ? "≤ " : "") + write(figure);
}

function inOrder(entries, data, nameOf) {
  const places = new Map(data.policies.map(({ name }, n) => [name, n]));
  return [...entries].sort((one, other) => places.get(nameOf(one)) - places.get(nameOf(other)));
}
