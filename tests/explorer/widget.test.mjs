// The queue between page and kernel, with a page and a kernel that only take notes.

import assert from "node:assert/strict";
import test from "node:test";

import { openLink, receive, request } from "../../radiodiff/explorer/js/widget.mjs";

const view = () => new DataView(new ArrayBuffer(4));
const resultOf = (cell) => ({
  cell,
  mean: view(),
  std: view(),
  truth: view(),
  rmse_db: 3,
  seconds: 0.5,
});

/** Timers that never ring by themselves: functions and times [ms] by number. */
function heldTimers(context) {
  const timers = new Map();
  let count = 0;
  context.mock.method(globalThis, "setTimeout", (ring, ms) => {
    timers.set(++count, { ring, ms });
    return count;
  });
  context.mock.method(globalThis, "clearTimeout", (id) => timers.delete(id));
  return timers;
}

/** A link on which `answer(result)` plays the kernel; it begins with the map of cell (0, 0). */
function linkOf(context) {
  const timers = heldTimers(context);
  const asked = [];
  const link = openLink({
    get: () => link.result,
    set: (_, cell) => asked.push(cell),
    save_changes() {},
  });
  const page = {
    frame: null,
    marks: [],
    said: "",
    mark: (cell) => page.marks.push(cell),
    show: (frame) => {
      page.frame = frame;
    },
    say: (text) => {
      page.said = text;
    },
    busy: (isBusy) => {
      page.isBusy = isBusy;
    },
  };
  const answer = (result) => {
    link.result = result;
    receive(link);
  };
  link.page = page;
  answer(resultOf([0, 0]));
  return { link, page, asked, answer, timers };
}

test("the first map is shown with the seconds that the kernel says", (context) => {
  const { page, asked } = linkOf(context);
  assert.deepEqual([page.frame.cell, page.isBusy, asked], [[0, 0], false, []]);
  assert.equal(page.said, "Done in 0.50\u00a0s: row 0, column 0.");
});

test("a quick drag asks for its first and its last cell only", (context) => {
  const { link, page, asked, answer, timers } = linkOf(context);
  for (const cell of [[0, 1], [0, 2], [0, 3]]) request(link, cell);
  assert.deepEqual([asked, page.isBusy], [[[0, 1]], true]);
  answer(resultOf([0, 1]));
  assert.deepEqual([asked, page.isBusy], [[[0, 1], [0, 3]], true]);
  assert.equal(timers.size, 1); // for the second question
  answer(resultOf([0, 3]));
  assert.equal(timers.size, 0);
  assert.deepEqual([asked.length, page.isBusy, page.frame.cell], [2, false, [0, 3]]);
  assert.match(page.said, /^Done in \d+\.\d\d\u00a0s: row 0, column 3\.$/);
  // The cross was where somebody dragged it, all the time.
  assert.deepEqual(page.marks, [[0, 0], [0, 1], [0, 2], [0, 3], [0, 3]]);
});

test("what is shown already is not asked for", (context) => {
  const { link, page, asked } = linkOf(context);
  request(link, [0, 0]);
  assert.deepEqual([asked, page.said], [[], "Done: row 0, column 0 is shown."]);
});

test("a move by Python takes the cross along", (context) => {
  const { link, page, asked, answer } = linkOf(context);
  answer(resultOf([5, 5]));
  assert.deepEqual([page.marks.at(-1), link.wanted, asked], [[5, 5], [5, 5], []]);
});

test("a failure puts the cross back and says why", (context) => {
  const { link, page, asked, answer } = linkOf(context);
  request(link, [0, 1]);
  answer({ error: "RuntimeError: out of memory" });
  assert.deepEqual([page.marks.at(-1), page.isBusy], [[0, 0], false]);
  assert.match(page.said, /could not compute this map\. RuntimeError: out of memory$/);
  request(link, [0, 2]);
  assert.deepEqual(asked, [[0, 1], [0, 2]]);
});

test("a kernel that does not answer is told of, and asked again", (context) => {
  const { link, page, asked, timers } = linkOf(context);
  request(link, [0, 1]);
  const [{ ring, ms }, ...others] = timers.values();
  assert.deepEqual([ms, others], [15000, []]);
  ring();
  assert.match(page.said, /^Computing row 0, column 1 .* still no answer/);
  request(link, [0, 2]);
  assert.deepEqual(asked, [[0, 1], [0, 2]]);
});
