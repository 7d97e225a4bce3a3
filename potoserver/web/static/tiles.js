import { figure, secondsWords } from "./admin-words.js";
import { el } from "./dom.js";
import { setText } from "./live-list.js";
import { Spark } from "./spark.js";
import { countWords } from "./words.js";

/** Each is made of the newest item of one stream: the figure, and what stands below it. */
const TILES = [
  {
    name: "Users online",
    of: "view",
    value: (view) => view.online,
    more: (view) => `${figure(view.leavingCount)} leaving`,
  },
  {
    name: "Connections",
    of: "view",
    value: (view) => view.connectionCount,
    more: (view) => `${countWords(view.callsInFlight, "call")} in flight`,
  },
  {
    name: "Sessions",
    of: "seen",
    value: (seen) => seen.active,
    more: (seen) => `${figure(seen.pendingArchives)} to be archived`,
  },
  {
    name: "Events per second",
    of: "view",
    value: (view) => view.events?.deliveredPerS,
    more: (view) => `${figure(view.events?.publishedPerS)} published`,
  },
  {
    name: "Messages per second",
    of: "seen",
    value: (seen) => seen.rates?.messagesPerS,
    more: (seen) => `${figure(seen.rates?.archivesPerS)} archives`,
  },
  {
    name: "Archiving takes",
    of: "seen",
    value: (seen) => seen.archiveSeconds?.p50,
    words: (value) => (value === undefined ? "–" : secondsWords(value)),
    more: ({ archiveSeconds }) =>
      archiveSeconds ? `99 of 100 within ${secondsWords(archiveSeconds.p99)}` : "none in five minutes",
  },
];

/** The figures, each with a curve of the last two minutes. */
export class Tiles {
  #tiles;

  /** @param {HTMLElement} container */
  constructor(container) {
    this.#tiles = TILES.map(({ name, ...tile }) => {
      const big = el("p.figure", {}, "–");
      const small = el("p.muted", {}, "\u00a0");
      const spark = new Spark();
      container.append(el("div.tile", {}, el("p.name", {}, name), big, small, spark.element));
      return { words: figure, ...tile, big, small, spark };
    });
  }

  /** @param {{view: ?object, seen: ?object}} now The newest item of each stream. */
  show(now) {
    for (const { of, value, words, more, big, small } of this.#tiles) {
      const item = now[of];
      if (!item) continue;
      setText(big, words(value(item)));
      setText(small, more(item));
    }
  }

  /** A second has passed. @param {{view: ?object, seen: ?object}} now Nothing while a stream is cut off. */
  tick(now) {
    for (const { of, value, spark } of this.#tiles) {
      spark.add(now[of] ? (value(now[of]) ?? null) : null);
      spark.draw();
    }
  }
}
