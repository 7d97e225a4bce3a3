const SVG = "http://www.w3.org/2000/svg";
const POINTS = 120;
const HEIGHT = 32;

/** A small curve of the last two minutes. What it says stands beside it as a figure, so it is hidden from readers. */
export class Spark {
  #values = [];
  #line = document.createElementNS(SVG, "path");
  #area = document.createElementNS(SVG, "path");

  constructor() {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${POINTS - 1} ${HEIGHT}`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("aria-hidden", "true");
    this.element.classList.add("spark");
    this.#area.classList.add("area");
    this.#line.classList.add("line");
    this.element.append(this.#area, this.#line);
  }

  /** @param {?number} value Of this second; null where there is none. */
  add(value) {
    this.#values.push(value);
    if (this.#values.length > POINTS) this.#values.shift();
  }

  draw() {
    const most = Math.max(1, ...this.#values.filter((value) => value !== null)) * 1.1;
    const first = POINTS - this.#values.length;
    let line = "";
    let area = "";
    const runs = [];
    this.#values.forEach((value, index) => {
      if (value === null) return;
      const isNew = index === 0 || this.#values[index - 1] === null;
      if (isNew) runs.push([]);
      runs.at(-1).push([first + index, HEIGHT - 1 - (value / most) * (HEIGHT - 3)]);
    });
    for (const run of runs) {
      const points = run.map(([x, y]) => `${x} ${y.toFixed(2)}`).join("L");
      line += `M${points}`;
      area += `M${run[0][0]} ${HEIGHT}L${points}L${run.at(-1)[0]} ${HEIGHT}Z`;
    }
    this.#line.setAttribute("d", line);
    this.#area.setAttribute("d", area);
  }
}
