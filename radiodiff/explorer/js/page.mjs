// The page on which one moves the transmitter, whoever its host is.

import { drawMap, paint } from "./draw.mjs";
import { buildParts } from "./elements.mjs";
import { followKeys, followPointer, followTyping } from "./gestures.mjs";
import { describe, drawBar, drawLegend, drawNumbers, drawReadout } from "./panel.mjs";
import { isBuilding, isInside, readTile, toCell, toMetres, within } from "./tile.mjs";
import { VIEWS } from "./views.mjs";
import { BEYOND_EDGE, beyondExtent, inBuilding } from "./words.mjs";

function drawAll(page) {
  const { tile, parts, state } = page;
  if (!state.frame) return;
  for (const view of Object.keys(VIEWS)) paint(parts.views[view].canvas, view, tile, state.frame);
  paint(parts.picture, state.view, tile, state.frame);
  describe(page);
  drawBar(page);
  drawLegend(page);
  drawNumbers(page);
  drawReadout(page);
  drawMap(page);
}

const say = ({ parts }, text) => {
  parts.status.textContent = text;
};

const showPosition = ({ tile, state, writePosition }) => {
  writePosition(toMetres(tile, state.marker));
};

/** Ask the host for a cell, or say why it cannot be. */
function choose(page, cell, how) {
  const { tile, host } = page;
  if (isInside(tile, cell) && !isBuilding(tile, cell)) {
    host.move(cell, how);
    return;
  }
  say(page, isInside(tile, cell) ? inBuilding(cell) : BEYOND_EDGE);
  showPosition(page);
}

/** Ask the host for a position [m] that was typed. */
function choosePosition(page, position) {
  const { tile, state } = page;
  if (!state.frame) return;
  if (position.every((value, k) => value >= 0 && value <= [tile.extent, tile.extentY][k])) {
    choose(page, within(tile, toCell(tile, position)), "typing");
    return;
  }
  say(page, beyondExtent(tile));
  showPosition(page);
}

function step(page, direction, count) {
  if (page.host.step) {
    page.host.step(direction, count);
    return;
  }
  const cell = page.state.marker.map((value, axis) => value + count * direction[axis]);
  choose(page, cell, "keys");
}

function hover(page, cell) {
  page.state.hover = cell && isInside(page.tile, cell) ? cell : null;
  drawReadout(page);
  drawMap(page);
}

/** Follow the threshold's slider, the box beside the hatching, and the choice of a view. */
function followControls(page) {
  const { parts, state, host } = page;
  parts.slider.addEventListener("input", () => {
    state.threshold = parts.slider.valueAsNumber;
    drawNumbers(page);
    drawBar(page);
    drawMap(page);
  });
  parts.slider.addEventListener("change", () => host.threshold?.(state.threshold));
  parts.markBox.addEventListener("change", () => {
    drawLegend(page);
    drawMap(page);
  });
  for (const [view, { input }] of Object.entries(parts.views)) {
    input.addEventListener("change", () => {
      state.view = view;
      drawAll(page);
    });
  }
}

/** What a host does with the page. */
function handleOf(page, observer) {
  const { parts, state } = page;
  return {
    /** Maps that are shown. */
    get frame() {
      return state.frame;
    },
    say: (text) => say(page, text),
    /** Move the cross, before its map is there. */
    mark(cell) {
      state.marker = cell;
      showPosition(page);
      describe(page);
      drawMap(page);
    },
    /** Show the maps of a transmitter. */
    show(frame) {
      state.frame = frame;
      state.marker ??= frame.cell;
      parts.section.dataset.row = frame.cell[0];
      parts.section.dataset.col = frame.cell[1];
      showPosition(page);
      drawAll(page);
    },
    threshold(db) {
      state.threshold = db;
      parts.slider.value = db;
      drawNumbers(page);
      if (state.frame) drawBar(page);
      drawMap(page);
    },
    busy(isBusy) {
      parts.section.dataset.state = isBusy ? "busy" : "ready";
    },
    remove() {
      observer.disconnect();
    },
  };
}

/**
 * Draw the page into an element and return its handle.
 *
 * `message` is what Python says of the tile. `host.move(cell, how)` is called with an outdoor cell
 * that somebody chose by "pointer", "typing" or "keys", `host.step(direction, count)`, if given,
 * for arrow keys, `host.threshold(db)`, if given, when the slider rests. `host.places`, if given,
 * are the cells that have maps.
 */
export function createPage(el, message, host) {
  const tile = readTile(message);
  const parts = buildParts(tile);
  const state = { view: "prediction", threshold: -100, marker: null, frame: null, hover: null };
  const page = { tile, parts, state, host };
  el.replaceChildren(parts.section);
  followPointer(page, (cell) => hover(page, cell), (cell) => choose(page, cell, "pointer"));
  followKeys(page, (direction, count) => step(page, direction, count));
  page.writePosition = followTyping(parts.inputs, (position) => choosePosition(page, position));
  followControls(page);
  const observer = new ResizeObserver(() => drawMap(page));
  observer.observe(parts.canvas);
  return handleOf(page, observer);
}
