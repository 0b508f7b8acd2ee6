import assert from "node:assert/strict";
import test from "node:test";

import * as places from "../../radiodiff/explorer/js/places.mjs";
import { base64, MASK, message } from "./small.mjs";

const CELLS = [[10, 10], [10, 12], [10, 30], [0, 11], [25, 8], [12, 10]];

test("the nearest is the first of the nearest", () => {
  assert.equal(places.nearest(CELLS, [10, 13]), 1);
  assert.equal(places.nearest(CELLS, [10, 11]), 0); // as near as 1
  CELLS.forEach((cell, index) => assert.equal(places.nearest(CELLS, cell), index));
});

test("a step goes to the next transmitter that way", () => {
  assert.equal(places.inDirection(CELLS, 0, [0, 1], 1), 1);
  assert.equal(places.inDirection(CELLS, 0, [-1, 0], 1), 3);
  assert.equal(places.inDirection(CELLS, 0, [1, 0], 1), 5);
});

test("a step goes straight on rather than to the nearest", () => {
  const cells = [[0, 0], [2, 1], [3, 0]];
  assert.equal(places.inDirection(cells, 0, [1, 0], 1), 2);
  assert.equal(places.inDirection(cells.slice(0, 2), 0, [1, 0], 1), 1);
});

test("a long step leaves the near ones out while there are others", () => {
  assert.equal(places.inDirection(CELLS, 0, [0, 1], 5), 2);
  assert.equal(places.inDirection(CELLS, 0, [1, 0], 5), 4);
  assert.equal(places.inDirection(CELLS, 0, [0, 1], 100), 1);
});

test("no transmitter that way is none", () => {
  assert.equal(places.inDirection(CELLS, 2, [0, 1], 1), null);
  // What lies too far aside is not that way.
  assert.equal(places.inDirection([[0, 0], [1, 3]], 0, [1, 0], 1), null);
  assert.equal(places.inDirection([[0, 0], [1, 2]], 0, [1, 0], 1), 1);
});

test("a small typed step goes on in its direction, a pointer goes to the nearest", () => {
  assert.equal(places.meantBy(CELLS, 0, [9, 10], "pointer"), 0);
  assert.equal(places.meantBy(CELLS, 0, [9, 10], "typing"), 3);
  assert.equal(places.meantBy(CELLS, 0, [10, 10], "typing"), 0); // where it is
  assert.equal(places.meantBy(CELLS, 2, [10, 31], "typing"), 2); // none farther that way
  assert.equal(places.meantBy(CELLS, 0, [24, 8], "typing"), 4); // another is nearer
});

test("packed maps are unpacked map after map, outdoors only", () => {
  const outdoors = MASK.filter((inside) => !inside).length;
  const levels = Array.from({ length: 2 * outdoors }, (_, k) => k);
  const readFrame = places.frameReader({
    tile: message(),
    cells: [[1, 1], [3, 3]],
    rmse_db: [5, 6],
    std_step_db: 0.5,
    maps: {
      mean: base64(levels.map((k) => 255 - k)),
      truth: base64(levels.map((k) => 10 * (k % 3))),
      std: base64(levels),
    },
  });
  const frame = readFrame(1);
  assert.deepEqual([frame.cell, frame.rmse], [[3, 3], 6]);
  let k = outdoors;
  MASK.forEach((inside, i) => {
    if (inside) {
      assert.ok([frame.mean[i], frame.truth[i], frame.std[i]].every(Number.isNaN));
      return;
    }
    assert.equal(frame.std[i], 0.5 * k);
    assert.equal(frame.mean[i], Math.fround(-147 + ((255 - k) / 255) * 100));
    assert.equal(frame.truth[i], Math.fround(-147 + ((10 * (k % 3)) / 255) * 100));
    k += 1;
  });
  assert.equal(k, 2 * outdoors);
});
