import assert from "node:assert/strict";
import test from "node:test";

import { readTile } from "../../radiodiff/explorer/js/tile.mjs";
import * as words from "../../radiodiff/explorer/js/words.mjs";
import { frameOf, message } from "./small.mjs";

const tile = readTile(message());
const plain = (text) => text.replaceAll("\u00a0", " ").replaceAll("\u2212", "-");

test("the readout gives all four values with their units", () => {
  const frame = frameOf({ mean: -90, truth: -95.25, std: 1.5 });
  assert.equal(
    plain(words.readoutOf(tile, frame, [3, 0])),
    "x 1.0 m, y 1.0 m: prediction -90.0 dB, simulator -95.3 dB, error +5.3 dB, uncertainty 1.5 dB",
  );
});

test("the readout of a building and of no cell has no values", () => {
  const frame = frameOf({ mean: -90 });
  assert.equal(plain(words.readoutOf(tile, frame, [0, 1])), "x 3.0 m, y 7.0 m: building");
  const invitation = "Point at the map to read its values.";
  assert.equal(words.readoutOf(tile, frame, null), invitation);
  assert.equal(words.readoutOf(tile, null, [0, 0]), invitation);
});

test("the map is described by its title and the transmitter's place", () => {
  const text = words.mapDescription("Error of the prediction", tile, [1, 2]);
  assert.match(text, /^Error of the prediction\. Transmitter at row 1, column 2, x 5\.0, y 5\.0 m/);
});

test("a refusal says what is wrong and that nothing moved", () => {
  assert.match(words.inBuilding([0, 1]), /^Row 0, column 1 is inside .*\. Choose a street\.$/);
  assert.match(plain(words.beyondExtent(tile)), /^Expected x and y between 0 and 8 m; the transm/);
  for (const text of [words.inBuilding([0, 1]), words.beyondExtent(tile), words.BEYOND_EDGE]) {
    assert.match(text, /the transmitter stayed where it was/);
  }
});
