import assert from "node:assert/strict";
import test from "node:test";

import * as tiles from "../../radiodiff/explorer/js/tile.mjs";
import { message } from "./small.mjs";

const tile = tiles.readTile(message());
const cells = [...tile.mask.keys()].map((i) => [Math.floor(i / tile.size), i % tile.size]);

test("a tile knows its extent, its buildings and the ends of its scales", () => {
  assert.equal(tile.extent, 8);
  assert.deepEqual(cells.filter((cell) => tiles.isBuilding(tile, cell)), [[0, 1], [2, 3]]);
  const ends = ({ low, high }) => [low, high];
  assert.deepEqual(ends(tile.scales.gain), [-147, -47]);
  assert.deepEqual(ends(tile.scales.error), [-30, 30]);
  assert.deepEqual(ends(tile.scales.uncertainty), [0, 3]);
  assert.equal(tile.scales.gain.colours.length, 3 * 256);
});

test("metres and cells are inverse, with y up and rows down", () => {
  for (const cell of cells) assert.deepEqual(tiles.toCell(tile, tiles.toMetres(tile, cell)), cell);
  assert.deepEqual(tiles.toMetres(tile, [0, 0]), [1, 7]);
  assert.deepEqual(tiles.toCell(tile, [7.9, 0.1]), [3, 3]);
});

test("the upper edges of the tile belong to the cells beyond, which `within` takes back", () => {
  assert.deepEqual(tiles.toCell(tile, [8, 8]), [-1, 4]);
  assert.deepEqual(tiles.within(tile, [-1, 4]), [0, 3]);
  for (const cell of cells) assert.deepEqual(tiles.within(tile, cell), cell);
});

test("a cell is inside exactly if `within` leaves it", () => {
  for (let row = -1; row <= tile.size; row++) {
    for (let col = -1; col <= tile.size; col++) {
      const isLeft = tiles.isSame(tiles.within(tile, [row, col]), [row, col]);
      assert.equal(tiles.isInside(tile, [row, col]), isLeft);
    }
  }
});

test("a pixel lies in the cell whose middle it is, in a box anywhere", () => {
  const box = { left: 10, top: -20, width: 100, height: 100 };
  for (const [row, col] of cells) {
    const [x, y] = [10 + 25 * col + 12.5, -20 + 25 * row + 12.5];
    assert.deepEqual(tiles.cellAt(tile, box, x, y), [row, col]);
    assert.equal(tiles.pixelsFrom(tile, box, [row, col], x, y), 0);
    assert.equal(tiles.pixelsFrom(tile, box, [row, col], x + 3, y - 4), 5);
  }
  assert.deepEqual(tiles.cellAt(tile, box, 9.9, 80), [4, -1]);
});

test("no cell is the same as none", () => {
  assert.equal(tiles.isSame([1, 2], [1, 2]), true);
  assert.equal(tiles.isSame([1, 2], [2, 1]), false);
  assert.equal(tiles.isSame(null, null), false);
  assert.equal(tiles.isSame([1, 2], undefined), false);
});
