import assert from "node:assert/strict";
import test from "node:test";

import * as numbers from "../../radiodiff/explorer/js/numbers.mjs";

const { bytesOf, decibels, floatsOf, number, percent, signed } = numbers;

/** A view at an odd offset, as a widget may receive one. */
function viewOf(bytes) {
  const buffer = new Uint8Array([99, ...bytes, 99]).buffer;
  return new DataView(buffer, 1, bytes.length);
}

test("bytes are the same from text and from a view", () => {
  const bytes = [0, 1, 127, 128, 255];
  const text = Buffer.from(bytes).toString("base64");
  assert.deepEqual([...bytesOf(text)], bytes);
  assert.deepEqual([...bytesOf(viewOf(bytes))], bytes);
});

test("floats are read at any offset", () => {
  const values = new Float32Array([-147, 0.25, NaN, 1e30]);
  assert.deepEqual(floatsOf(viewOf(new Uint8Array(values.buffer))), values);
});

test("numbers are written with a minus sign and a fixed space", () => {
  assert.equal(number(-100.04), "\u2212100.0");
  assert.equal(number(2.5, 0), "3");
  assert.equal(percent(0.6195), "62.0\u00a0%");
  assert.equal(decibels(-0.126), "\u22120.13\u00a0dB");
});

test("an error has its sign, none has none", () => {
  assert.deepEqual([2, -2, 0].map(signed), ["+2.0\u00a0dB", "\u22122.0\u00a0dB", "0.0\u00a0dB"]);
});
