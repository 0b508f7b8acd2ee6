// The tile: its cells `[row, col]` with row 0 at the top, its metres `[x, y]` with y up, and the
// box in which a browser shows it.

import { bytesOf } from "./numbers.mjs";

/**
 * What Python says of a tile (`tile_message`), its bytes read. A row has `size` cells, so arrays index
 * [row * size + col]; there are `rows` of them, as many unless the message says so.
 */
export function readTile(message) {
  const ranges = {
    gain: [message.floor_db, message.peak_db],
    error: [-message.error_limit_db, message.error_limit_db],
    uncertainty: [0, message.uncertainty_limit_db],
  };
  const scales = {}; // of each quantity: the values at both ends and 256 colours between
  for (const [quantity, table] of Object.entries(message.colours)) {
    const [low, high] = ranges[quantity];
    scales[quantity] = { low, high, colours: bytesOf(table) };
  }
  const rows = message.rows ?? message.size;
  return {
    size: message.size,
    rows,
    cellSize: message.cell_size_m,
    extent: message.size * message.cell_size_m,
    extentY: rows * message.cell_size_m,
    mask: bytesOf(message.building_mask),
    samples: message.samples,
    note: message.note,
    scales,
  };
}

export const isSame = (a, b) => Boolean(a && b) && a[0] === b[0] && a[1] === b[1];
export const place = ([row, col]) => `row ${row}, column ${col}`;

export const isInside = ({ size, rows }, [row, col]) =>
  row >= 0 && col >= 0 && row < rows && col < size;
export const isBuilding = ({ size, mask }, [row, col]) => mask[row * size + col] > 0;

/** The cell of the tile nearest to one that may lie beyond its edge. */
export const within = ({ size, rows }, cell) =>
  cell.map((value, axis) => Math.min((axis ? size : rows) - 1, Math.max(0, value)));

/** Middle of a cell [m]. */
export const toMetres = ({ rows, cellSize }, [row, col]) => [
  (col + 0.5) * cellSize,
  (rows - row - 0.5) * cellSize,
];
export const toCell = ({ rows, cellSize }, [x, y]) => [
  rows - 1 - Math.floor(y / cellSize),
  Math.floor(x / cellSize),
];

/** The cell at a point [px] of the window, when `box` shows the tile. */
export const cellAt = ({ size, rows }, box, x, y) => [
  Math.floor(((y - box.top) * rows) / box.height),
  Math.floor(((x - box.left) * size) / box.width),
];

/** Distance [px] in the window from the middle of a cell to a point. */
export function pixelsFrom({ size, rows }, box, [row, col], x, y) {
  const middleX = box.left + ((col + 0.5) * box.width) / size;
  const middleY = box.top + ((row + 0.5) * box.height) / rows;
  return Math.hypot(x - middleX, y - middleY);
}
