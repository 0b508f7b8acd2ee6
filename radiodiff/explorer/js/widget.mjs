// Host two: a widget beside a kernel. It asks for one position at a time; the newest waits.

import { floatsOf } from "./numbers.mjs";
import { createPage } from "./page.mjs";
import { isSame, place } from "./tile.mjs";

const PATIENCE_MS = 15000;

/** The link to a kernel: where the transmitter should go, and what the kernel is computing. */
export const openLink = (model) => ({
  model,
  page: null,
  wanted: null,
  asked: null,
  started: 0,
  timer: 0,
});

function ask(link) {
  const { model, page } = link;
  link.asked = link.wanted;
  link.started = performance.now();
  page.busy(true);
  page.say(`Computing ${place(link.asked)} \u2026`);
  clearTimeout(link.timer);
  link.timer = setTimeout(() => {
    page.say(
      `Computing ${place(link.asked)} \u2026 still no answer. If the kernel was stopped, run the ` +
        "cell again.",
    );
    link.asked = null; // or it would keep what one does next for ever
  }, PATIENCE_MS);
  model.set("transmitter_cell", link.asked);
  model.save_changes();
}

/** Move the transmitter to a cell, as soon as the kernel is free. */
export function request(link, cell) {
  const { page } = link;
  page.mark(cell);
  link.wanted = cell;
  if (link.asked) return; // the newest position waits for the answer
  if (isSame(cell, page.frame?.cell)) page.say(`Done: ${place(cell)} is shown.`);
  else ask(link);
}

const readResult = (result) => ({
  cell: result.cell,
  mean: floatsOf(result.mean),
  std: floatsOf(result.std),
  truth: floatsOf(result.truth),
  rmse: result.rmse_db,
});

/** Show what the kernel computed, or why it could not; then ask for what has been waiting. */
export function receive(link) {
  const { model, page } = link;
  const result = model.get("_result");
  clearTimeout(link.timer);
  const answered = link.asked;
  link.asked = null;
  if (result.error) {
    page.busy(false);
    if (page.frame) page.mark(page.frame.cell);
    page.say(`The kernel could not compute this map. ${result.error}`);
    return;
  }
  const frame = readResult(result);
  if (!answered) link.wanted = frame.cell; // Python moved it, or this is the first map
  if (isSame(link.wanted, frame.cell)) page.mark(frame.cell);
  page.show(frame);
  if (!isSame(link.wanted, frame.cell)) {
    ask(link);
    return;
  }
  const seconds = answered ? (performance.now() - link.started) / 1000 : result.seconds;
  page.busy(false);
  page.say(`Done in ${seconds.toFixed(2)}\u00a0s: ${place(frame.cell)}.`);
}

function render({ model, el }) {
  const link = openLink(model);
  link.page = createPage(el, model.get("_tile"), {
    move: (cell) => request(link, cell),
    threshold(db) {
      model.set("threshold_db", db);
      model.save_changes();
    },
  });
  const onResult = () => receive(link);
  const onThreshold = () => link.page.threshold(model.get("threshold_db"));
  model.on("change:_result", onResult);
  model.on("change:threshold_db", onThreshold);
  onThreshold();
  onResult();
  return () => {
    clearTimeout(link.timer);
    model.off("change:_result", onResult);
    model.off("change:threshold_db", onThreshold);
    link.page.remove();
  };
}

export default { render };
