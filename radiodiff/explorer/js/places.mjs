// The precomputed transmitters of the static page: which one is meant, and what its maps are.

import { bytesOf } from "./numbers.mjs";
import { isSame } from "./tile.mjs";

/** Distance of two cells, in cells. */
export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

const least = (indices, cost) => indices.reduce((best, i) => (cost(i) < cost(best) ? i : best));
const all = (cells) => cells.map((_, index) => index);

/** Index of the transmitter nearest to a cell; the first of several. */
export const nearest = (cells, cell) => least(all(cells), (i) => distance(cells[i], cell));

/** The transmitter nearest in a direction, at least `count` cells that way if there is one. */
export function inDirection(cells, from, [down, right], count) {
  const [row, col] = cells[from];
  const ahead = (i) => (cells[i][0] - row) * down + (cells[i][1] - col) * right;
  const aside = (i) => Math.abs((cells[i][0] - row) * right) + Math.abs((cells[i][1] - col) * down);
  const before = all(cells).filter((i) => ahead(i) > 0 && aside(i) <= 2 * ahead(i));
  if (!before.length) return null;
  const far = before.filter((i) => ahead(i) >= count);
  return least(far.length ? far : before, (i) => ahead(i) + 2 * aside(i)); // straight on, not near
}

/** Index of the transmitter that is meant by a cell chosen by "pointer" or by "typing". */
export function meantBy(cells, current, cell, how) {
  const index = nearest(cells, cell);
  if (how !== "typing" || index !== current || isSame(cell, cells[current])) return index;
  // Small steps of a number would never leave the transmitter: go on in their direction.
  const [down, right] = [cell[0] - cells[current][0], cell[1] - cells[current][1]];
  const direction =
    Math.abs(down) > Math.abs(right) ? [Math.sign(down), 0] : [0, Math.sign(right)];
  return inDirection(cells, current, direction, 1) ?? index;
}

/** A function that unpacks the maps of the transmitter with an index (`outdoor_bytes`). */
export function frameReader({ tile, cells, maps, rmse_db: rmse, std_step_db: stdStep }) {
  const mask = bytesOf(tile.building_mask);
  const outdoors = [...mask.keys()].filter((i) => !mask[i]);
  const packed = Object.fromEntries(
    Object.entries(maps).map(([name, bytes]) => [name, bytesOf(bytes)]),
  );
  const gain = (level) => tile.floor_db + (level / 255) * (tile.peak_db - tile.floor_db);

  function unpack(name, index, convert) {
    const values = new Float32Array(mask.length).fill(NaN);
    outdoors.forEach((i, k) => {
      values[i] = convert(packed[name][index * outdoors.length + k]);
    });
    return values;
  }

  return (index) => ({
    cell: cells[index],
    mean: unpack("mean", index, gain),
    truth: unpack("truth", index, gain),
    std: unpack("std", index, (level) => level * stdStep),
    rmse: rmse[index],
  });
}
