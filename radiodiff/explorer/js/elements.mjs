// The elements of the page, in the order in which the keyboard goes through them.

import { VIEWS } from "./views.mjs";

const NUMBERS = {
  covered: "Covered, predicted",
  "covered-simulator": "Covered, simulator",
  agreement: "Both say the same",
  rmse: "RMSE against simulator",
  uncertainty: "Mean uncertainty",
};

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const block = (name, ...children) => element("div", { class: `rdx-${name}` }, ...children);
const hidden = (tag, attributes) => element(tag, { ...attributes, "aria-hidden": "true" });

/** The canvas of the large map and what stands around it. */
function mapParts() {
  const parts = {
    title: block("title"),
    canvas: element("canvas", {
      class: "rdx-map",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "map",
      "data-testid": "explorer-canvas",
    }),
    ramp: hidden("canvas", { width: 256, height: 1 }),
    ticks: hidden("div", { class: "rdx-ticks" }),
    unit: block("unit"),
    readout: element("div", { class: "rdx-readout", "data-testid": "explorer-readout" }),
    legend: block("legend"),
    status: element("div", {
      class: "rdx-status",
      role: "status",
      "aria-live": "polite",
      "data-testid": "explorer-status",
    }),
  };
  const bar = block("bar", parts.ramp, parts.ticks, parts.unit);
  const { title, canvas, readout, legend, status } = parts;
  return { ...parts, left: block("left", title, canvas, bar, readout, legend, status) };
}

/** Radio buttons with small maps, one a view. */
function viewParts({ size, rows }) {
  // Each page in a document may run its own copy of this script: a counter would not be unique.
  const name = `rdx-view-${Math.random().toString(36).slice(2)}`;
  const views = {};
  const viewList = element("fieldset", { class: "rdx-views" }, element("legend", {}, "Show"));
  for (const [view, { label }] of Object.entries(VIEWS)) {
    const input = element("input", {
      type: "radio",
      name,
      value: view,
      "data-testid": `explorer-view-${view}`,
    });
    const canvas = hidden("canvas", { width: size, height: rows });
    viewList.append(element("label", {}, input, canvas, element("span", {}, label)));
    views[view] = { input, canvas };
  }
  views.prediction.input.checked = true;
  return { views, viewList };
}

function numberInput(axis, { cellSize, extent, extentY }) {
  const half = cellSize / 2;
  return element("input", {
    type: "number",
    min: half, // steps go from the middle of a cell to that of the next
    max: (axis === "x" ? extent : extentY) - half,
    step: cellSize,
    inputmode: "decimal",
    "data-testid": `explorer-${axis}`,
    "aria-label": `Transmitter ${axis}, in metres`,
  });
}

/** Position, threshold, and the table of numbers. */
function controlParts(tile) {
  const inputs = { x: numberInput("x", tile), y: numberInput("y", tile) };
  const { low, high } = tile.scales.gain;
  const slider = element("input", {
    type: "range",
    min: Math.ceil(low),
    max: Math.floor(high),
    step: 1,
    "data-testid": "explorer-threshold",
    "aria-label": "Coverage threshold, in decibels",
  });
  const sliderValue = element("output", {});
  const markBox = element("input", {
    type: "checkbox",
    checked: true,
    "data-testid": "explorer-mark",
  });
  const numbers = {};
  const table = element("dl", { class: "rdx-numbers" });
  for (const [key, label] of Object.entries(NUMBERS)) {
    numbers[key] = element("dd", { "data-testid": `explorer-${key}` }, "\u2013");
    table.append(element("div", {}, element("dt", {}, label), numbers[key]));
  }
  const name = (text) => element("span", { class: "rdx-name" }, text);
  const [x, y] = ["x", "y"].map((axis) => element("label", {}, `${axis} `, inputs[axis]));
  const controls = block(
    "controls",
    block("row", name("Transmitter [m]"), x, y),
    block("threshold", name("Covered from"), sliderValue, slider),
    element("label", { class: "rdx-check" }, markBox, " hatch what is not covered"),
    table,
  );
  return { inputs, slider, sliderValue, markBox, numbers, controls };
}

/** All elements of the page by name; `section` holds them, `picture` is the map cell by cell. */
export function buildParts(tile) {
  const { left, ...map } = mapParts();
  const { views, viewList } = viewParts(tile);
  const { controls, ...control } = controlParts(tile);
  const section = element(
    "section",
    {
      class: "rdx",
      "data-testid": "explorer",
      "data-state": "busy",
      "aria-label": "Radio map with a transmitter to move",
    },
    block("columns", left, block("right", viewList, controls)),
  );
  for (const node of section.querySelectorAll("input, canvas[tabindex]")) {
    node.dataset.lmSuppressShortcuts = "true"; // or JupyterLab would take the arrow keys
  }
  section.style.setProperty("--rdx-ratio", `${tile.size} / ${tile.rows}`);
  if (tile.note) section.append(block("note", tile.note));
  const picture = element("canvas", { width: tile.size, height: tile.rows });
  return { section, picture, views, ...map, ...control };
}
