import assert from "node:assert/strict";
import test from "node:test";

import { readTile } from "../../radiodiff/explorer/js/tile.mjs";
import * as views from "../../radiodiff/explorer/js/views.mjs";
import { frameOf, MASK, message } from "./small.mjs";

const tile = readTile(message());
const { gain, error, uncertainty } = tile.scales;
const rows = (row) => [0, 1, 2, 3].flatMap(() => row);

test("the four views are the maps and the difference of two", () => {
  const frame = frameOf({ mean: -90, truth: -95, std: 1.5 });
  const values = Object.keys(views.VIEWS).map((view) => views.valueAt(frame, view, 0));
  assert.deepEqual(values, [-90, -95, 5, 1.5]);
});

test("a colour scale runs from its first colour to its last, and no farther", () => {
  const level = (value) => views.colourOf(gain, value)[0];
  assert.deepEqual([-147, -97, -47].map(level), [0, 128, 255]);
  assert.deepEqual([-500, 0].map(level), [0, 255]);
  // Half a step from a level is still that level.
  const step = 100 / 255;
  assert.deepEqual([9.6, 10, 10.4].map((k) => level(-147 + k * step)), [10, 10, 10]);
});

test("a colour has the three bytes of its level", () => {
  const colours = Uint8Array.from({ length: 3 * 256 }, (_, i) => i % 251);
  assert.deepEqual(views.colourOf({ low: 0, high: 255, colours }, 7), [21, 22, 23]);
});

test("ticks stand at round values, the ends say what lies beyond", () => {
  assert.deepEqual(views.ticksOf("gain", gain), [
    { text: "\u2212140", left: 7 },
    { text: "\u2212120", left: 27 },
    { text: "\u2212100", left: 47 },
    { text: "\u221280", left: 67 },
    { text: "\u221260", left: 87 },
  ]);
  assert.deepEqual(
    views.ticksOf("error", error).map(({ text }) => text),
    ["\u2264\u2009\u221230", "\u221215", "0", "15", "\u2265\u200930"],
  );
  const limited = { ...uncertainty, high: 4 };
  assert.deepEqual(
    views.ticksOf("uncertainty", limited).map(({ text }) => text),
    ["0", "2", "\u2265\u20094"],
  );
});

test("coverage counts outdoor cells from the threshold on", () => {
  const frame = frameOf({ mean: rows([-80, -90, -100, -110]), truth: -95 });
  // Outdoors: four cells at -80, three at -90, four at -100, three at -110.
  const share = (threshold) => views.coverage(frame, MASK, threshold);
  assert.deepEqual(share(-90), { predicted: 7 / 14, simulated: 0, agreed: 7 / 14 });
  assert.deepEqual(share(-95), { predicted: 7 / 14, simulated: 1, agreed: 7 / 14 });
  assert.deepEqual(share(-200), { predicted: 1, simulated: 1, agreed: 1 });
});

test("a mean is taken outdoors", () => {
  const { std } = frameOf({ mean: rows([1, 2, 3, 4]) });
  assert.equal(views.outdoorMean(std, MASK), (4 * 1 + 3 * 2 + 4 * 3 + 3 * 4) / 14);
});

test("what is not covered is hatched, buildings never", () => {
  const { mean } = frameOf({ mean: rows([-80, -80, -80, -110]) });
  assert.deepEqual(views.uncoveredCells(tile, mean, -100), [[0, 3], [1, 3], [3, 3]]);
  assert.deepEqual(views.uncoveredCells(tile, mean, -80), [[0, 3], [1, 3], [3, 3]]);
  assert.equal(views.uncoveredCells(tile, mean, 0).length, 14);
});

test("the border runs between covered and uncovered streets, not along buildings", () => {
  const { mean } = frameOf({ mean: rows([-80, -80, -80, -110]) });
  // Right of column 2; in row 2 a building stands there.
  assert.deepEqual(views.coverageBorder(tile, mean, -100), [
    [3, 0, 3, 1],
    [3, 1, 3, 2],
    [3, 3, 3, 4],
  ]);
  assert.deepEqual(views.coverageBorder(tile, mean, 0), []);
});

test("a border below a row lies flat", () => {
  const { mean } = frameOf({ mean: MASK.map((_, i) => (i < 8 ? -80 : -110)) });
  assert.deepEqual(views.coverageBorder(tile, mean, -100), [
    [0, 2, 1, 2],
    [1, 2, 2, 2],
    [2, 2, 3, 2],
  ]);
});
