"use strict";

// The settings that an operator can use, compared on the days of each trace.

// All traces together, and the trace of the pair.
function drawChoices(section, container, choices, pair) {
  const shown = choices.filter(({ load, traces }) => load === null || traces.includes(pair.trace));
  section.hidden = shown.length === 0;
  container.replaceChildren(...shown.flatMap(choiceParts));
}

function choiceParts(choice) {
  const wide = element("div", "", "wide");
  const table = element("table");
  wide.append(table);
  fillTable(table, choice.headings, choice.lines.map(lineOf));
  const parts = [element("h3", choice.title), wide];
  parts.push(...choice.paragraphs.map(paragraph));
  if (choice.configuration) {
    parts.push(element("p", "To use it:"), element("pre", choice.configuration));
  }
  return parts;
}

function paragraph({ subject, text }) {
  const made = element("p");
  made.append(element("strong", `${subject}: `), text);
  return made;
}

function lineOf({ cells: [name, ...figures], met, cheapest }) {
  const text = cheapest ? `${name} ◀ cheapest` : name;
  return [{ text, classes: met ? "met" : "" }, ...figures];
}
