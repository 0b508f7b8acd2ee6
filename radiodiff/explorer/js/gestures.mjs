// Pointer and keys on the large map, and typing into the two numbers beside it.

import { cellAt, isSame, pixelsFrom, within } from "./tile.mjs";
import { LONG_STEP } from "./words.mjs";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const GRAB_PX = 28; // a finger this near to the transmitter drags it; elsewhere it scrolls the page

/** Call `hover(cell)` for the cell under the pointer and `choose(cell)` for one that it picks. */
export function followPointer({ tile, parts, state }, hover, choose) {
  const { canvas } = parts;
  let dragging = null; // pointer that drags
  let last = null; // cell it was in
  let tapped = false; // whether a click that follows is a finger's tap

  const cellUnder = ({ clientX, clientY }) =>
    cellAt(tile, canvas.getBoundingClientRect(), clientX, clientY);
  const isNearMarker = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return pixelsFrom(tile, box, state.marker, clientX, clientY) <= GRAB_PX;
  };
  const listeners = {
    pointerdown(event) {
      if (!state.frame || event.button !== 0) return;
      tapped = event.pointerType === "touch" && !isNearMarker(event);
      if (tapped) return;
      dragging = event.pointerId;
      canvas.setPointerCapture(dragging);
      last = cellUnder(event);
      if (event.pointerType !== "touch") choose(last);
    },
    pointermove(event) {
      if (!state.frame) return;
      hover(cellUnder(event));
      if (event.pointerId !== dragging) return;
      const cell = within(tile, cellUnder(event));
      if (isSame(cell, last)) return;
      last = cell;
      choose(cell);
    },
    pointerup(event) {
      if (event.pointerId === dragging) dragging = null;
    },
    pointerleave: () => hover(null),
    click(event) {
      if (!tapped || !state.frame) return;
      tapped = false;
      hover(cellUnder(event));
      choose(cellUnder(event));
    },
  };
  listeners.pointercancel = listeners.pointerup;
  for (const [kind, listener] of Object.entries(listeners)) {
    canvas.addEventListener(kind, listener);
  }
  // A finger away from the transmitter scrolls the page, as everywhere; on it, it drags.
  const hold = (event) => {
    if (state.marker && isNearMarker(event.touches[0])) event.preventDefault();
  };
  canvas.addEventListener("touchstart", hold, { passive: false });
}

/** Call `step(direction, count)` for arrow keys on the map. */
export function followKeys({ parts, state }, step) {
  parts.canvas.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction || !state.frame || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    step(direction, event.shiftKey ? LONG_STEP : 1);
  });
}

/**
 * Call `choose(position)` [m] for numbers that somebody typed.
 *
 * Returns a function that writes a position into the inputs.
 */
export function followTyping({ x, y }, choose) {
  const inputs = [x, y];
  const edited = new Set();
  let shown = ""; // what the inputs were last set to

  function read() {
    const position = inputs.map((input) => input.valueAsNumber);
    edited.clear();
    if (String(position) !== shown) choose(position);
  }
  for (const input of inputs) {
    input.addEventListener("input", () => edited.add(input));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") read(); // which is no change for JupyterLab
    });
    input.addEventListener("change", read);
  }
  return (position) => {
    const rounded = position.map((metres) => Number(metres.toFixed(3)));
    inputs.forEach((input, k) => {
      // A map that arrives late must not overwrite what somebody is typing.
      if (!edited.has(input) || !input.matches(":focus")) input.value = String(rounded[k]);
    });
    shown = String(rounded);
  };
}
