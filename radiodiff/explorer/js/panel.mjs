// What stands around the map: colour bar, legend, numbers, and values under the pointer.

import { paintRamp } from "./draw.mjs";
import { element } from "./elements.mjs";
import { decibels, percent } from "./numbers.mjs";
import { along, coverage, outdoorMean, QUANTITIES, ticksOf, VIEWS } from "./views.mjs";
import { mapDescription, readoutOf } from "./words.mjs";

export function drawBar({ tile, parts, state }) {
  const { quantity } = VIEWS[state.view];
  const scale = tile.scales[quantity];
  const { ramp, ticks, unit } = parts;
  paintRamp(ramp, scale);
  unit.textContent = QUANTITIES[quantity].label;
  ticks.replaceChildren();
  for (const { text, left } of ticksOf(quantity, scale)) {
    const tick = element("span", {}, text);
    tick.style.left = `${left}%`;
    ticks.append(tick);
  }
  if (quantity === "gain") {
    const mark = element("i", { class: "rdx-mark" });
    mark.style.left = `${along(scale, state.threshold)}%`;
    ticks.append(mark);
  }
}

export function drawLegend({ parts, state, host }) {
  const entries = [["rdx-key-cross", "transmitter"], ["rdx-key-building", "building"]];
  if (host.places) entries.push(["rdx-key-dot", "other transmitters"]);
  if (parts.markBox.checked && VIEWS[state.view].quantity === "gain") {
    entries.push(["rdx-key-hatch", "not covered"]);
  }
  parts.legend.replaceChildren(
    ...entries.map(([key, text]) => element("span", {}, element("i", { class: key }), text)),
  );
}

export function drawNumbers({ tile, parts, state }) {
  if (!state.frame) return;
  const { numbers, slider, sliderValue } = parts;
  const { predicted, simulated, agreed } = coverage(state.frame, tile.mask, state.threshold);
  numbers.covered.textContent = percent(predicted);
  numbers["covered-simulator"].textContent = percent(simulated);
  numbers.agreement.textContent = percent(agreed);
  numbers.rmse.textContent = decibels(state.frame.rmse);
  numbers.uncertainty.textContent = decibels(outdoorMean(state.frame.std, tile.mask));
  sliderValue.textContent = decibels(state.threshold, 0);
  slider.setAttribute("aria-valuetext", decibels(state.threshold, 0));
}

export function drawReadout({ tile, parts, state }) {
  parts.readout.textContent = readoutOf(tile, state.frame, state.hover);
}

/** Write the map's title, also for those who do not see it. */
export function describe({ tile, parts, state }) {
  const title = VIEWS[state.view].title(tile.samples);
  parts.title.textContent = title;
  parts.canvas.setAttribute("aria-label", mapDescription(title, tile, state.marker));
}
