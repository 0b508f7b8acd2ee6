// A tile of 4 by 4 cells of 2 m with two buildings, and maps of it, for the tests beside this file.

export const MASK = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

export const base64 = (bytes) => Buffer.from(bytes).toString("base64");

/** Grays: the colour of level k is (k, k, k). */
const grays = () => base64(Array.from({ length: 3 * 256 }, (_, i) => Math.floor(i / 3)));

/** What Python says of the tile. */
export const message = () => ({
  size: 4,
  cell_size_m: 2,
  samples: 3,
  note: "",
  floor_db: -147,
  peak_db: -47,
  error_limit_db: 30,
  uncertainty_limit_db: 3,
  building_mask: base64(MASK),
  colours: { gain: grays(), error: grays(), uncertainty: grays() },
});

/** A frame from values of all cells; NaN is put into the buildings. */
export function frameOf({ mean, truth = mean, std = mean, cell = [1, 1], rmse = 5 }) {
  const valueOf = (given, i) => (typeof given === "number" ? given : given[i]);
  const fill = (given) => Float32Array.from(MASK, (inside, i) => (inside ? NaN : valueOf(given, i)));
  return { cell, mean: fill(mean), truth: fill(truth), std: fill(std), rmse };
}
