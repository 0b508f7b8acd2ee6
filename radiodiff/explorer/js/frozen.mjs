// Host one: frozen into HTML, with the maps of a grid of transmitters.

import { number } from "./numbers.mjs";
import { createPage } from "./page.mjs";
import { distance, frameReader, inDirection, meantBy } from "./places.mjs";
import { place } from "./tile.mjs";

const AT = "Showing the precomputed transmitter at";
const INVITATION = "Drag the red cross, click a street, or press the arrow keys on the map.";

/** Draw the page into an element and show its first transmitter. */
function mount(el, data) {
  const { tile, cells } = data;
  const readFrame = frameReader(data);
  let current = data.start;

  function show(index, text) {
    current = index;
    page.mark(cells[index]);
    page.show(readFrame(index));
    page.say(text);
    page.busy(false);
  }

  const host = {
    places: cells,
    move(cell, how) {
      const index = meantBy(cells, current, cell, how);
      const metres = distance(cells[index], cell) * tile.cell_size_m;
      const from = how === "typing" ? "from that position" : "from where you pointed";
      const away = metres ? `, the nearest; ${number(metres, 0)}\u00a0m ${from}` : "";
      show(index, `${AT} ${place(cells[index])}${away}.`);
    },
    step(direction, count) {
      const index = inDirection(cells, current, direction, count);
      if (index === null) {
        page.say("No precomputed transmitter lies farther that way; the transmitter stayed.");
      } else {
        show(index, `${AT} ${place(cells[index])}.`);
      }
    },
  };
  const page = createPage(el, tile, host);
  page.threshold(data.threshold_db);
  show(current, `Showing one of ${cells.length} precomputed transmitters. ${INVITATION}`);
}

/** Show a grid of transmitters in the first place with this mark that is still empty. */
export function mountStatic(mark, data) {
  const el = document.querySelector(`[data-rdx="${mark}"]:not([data-rdx-mounted])`);
  if (!el) return;
  el.dataset.rdxMounted = "";
  mount(el, data);
}
