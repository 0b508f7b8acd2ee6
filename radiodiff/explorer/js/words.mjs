// Sentences of the page.

import { decibels, number, signed } from "./numbers.mjs";
import { place, toMetres } from "./tile.mjs";
import { valueAt } from "./views.mjs";

export const LONG_STEP = 5; // cells, with Shift

/** What a screen reader says of the large map. */
export function mapDescription(title, tile, cell) {
  const [x, y] = toMetres(tile, cell);
  return (
    `${title}. Transmitter at ${place(cell)}, x ${number(x)}, ` +
    `y ${number(y)} metres. Arrow keys move it, with Shift by ${LONG_STEP} cells.`
  );
}

/** Values of a frame in the cell under the pointer, if it is anywhere. */
export function readoutOf(tile, frame, cell) {
  if (!frame || !cell) return "Point at the map to read its values.";
  const [x, y] = toMetres(tile, cell);
  const where = `x ${number(x)}\u00a0m, y ${number(y)}\u00a0m: `;
  const i = cell[0] * tile.size + cell[1];
  if (tile.mask[i]) return `${where}building`;
  const value = (view) => valueAt(frame, view, i);
  return (
    `${where}prediction ${decibels(value("prediction"), 1)}, ` +
    `simulator ${decibels(value("simulator"), 1)}, ` +
    `error ${signed(value("error"))}, uncertainty ${decibels(value("uncertainty"), 1)}`
  );
}

const stays = "the transmitter stayed where it was.";

export const BEYOND_EDGE = `That is beyond the edge of the map; ${stays}`;

export function inBuilding(cell) {
  const where = place(cell);
  const begin = where[0].toUpperCase() + where.slice(1);
  return `${begin} is inside a building; ${stays} Choose a street.`;
}

export function beyondExtent({ extent, extentY }) {
  const upTo = (value) => `between 0 and ${number(value, 0)}\u00a0m`;
  const where = extent === extentY ? `x and y ${upTo(extent)}` : `x ${upTo(extent)}, y ${upTo(extentY)}`;
  return `Expected ${where}; ${stays}`;
}
