// Training curves: a panel per logged value, a line per seed; raw points stay, smoothing lies over them.
const lineColors = ["#3d8fd1", "#e08533", "#46a862", "#c9598a", "#8f74d6", "#a08f3a", "#45b3b8", "#d05f57"];
const panel = { width: 300, height: 170, left: 44, right: 8, top: 10, bottom: 24 };

// Exponential moving average, corrected for its start.
function smoothed(values, weight) {
  let average = 0;
  let total = 0;
  return values.map((value) => {
    average = weight * average + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return average / total;
  });
}

const short = (value) => (value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(3))));

class Panel {
  constructor(curve, seeds) {
    Object.assign(this, { curve, seeds, weight: 0 });
    this.element = elements(`<figure class="panel"><figcaption>${escaped(curve.name)}</figcaption><div class="drawing"></div>
      <p class="readout soft">&nbsp;</p></figure>`).firstElementChild;
    const steps = curve.lines.flatMap((line) => line.steps);
    const values = curve.lines.flatMap((line) => line.values);
    this.x = [Math.min(...steps), Math.max(...steps)];
    this.y = [Math.min(...values), Math.max(...values)];
    if (this.y[0] === this.y[1]) this.y = [this.y[0] - 1, this.y[1] + 1];
    this.draw();
    this.element.addEventListener("pointermove", (event) => this.hover(event));
    this.element.addEventListener("pointerleave", () => this.leave());
  }

  px(step) {
    const share = this.x[1] === this.x[0] ? 0.5 : (step - this.x[0]) / (this.x[1] - this.x[0]);
    return panel.left + share * (panel.width - panel.left - panel.right);
  }

  py(value) {
    const share = (value - this.y[0]) / (this.y[1] - this.y[0]);
    return panel.height - panel.bottom - share * (panel.height - panel.top - panel.bottom);
  }

  path(steps, values) {
    return steps.map((step, place) => `${this.px(step).toFixed(1)},${this.py(values[place]).toFixed(1)}`).join(" ");
  }

  draw() {
    const lines = this.curve.lines.map(({ seed, steps, values }) => {
      const color = lineColors[this.seeds.indexOf(seed) % lineColors.length];
      const raw = steps.length < 8 && !this.weight
        ? steps.map((step, place) => `<circle cx="${this.px(step)}" cy="${this.py(values[place])}" r="2.5" fill="${color}"/>`).join("")
        : "";
      const over = this.weight
        ? `<polyline class="smooth" points="${this.path(steps, smoothed(values, this.weight))}" stroke="${color}"/>` : "";
      return `<polyline class="raw${this.weight ? " faint" : ""}" points="${this.path(steps, values)}" stroke="${color}"/>${raw}${over}`;
    });
    const bottom = panel.height - panel.bottom;
    const grid = [0, 0.5, 1].map((share) => {
      const value = this.y[0] + share * (this.y[1] - this.y[0]);
      const y = this.py(value);
      return `<line class="grid" x1="${panel.left}" x2="${panel.width - panel.right}" y1="${y}" y2="${y}"/>
        <text x="${panel.left - 5}" y="${y + 3}" text-anchor="end">${short(value)}</text>`;
    });
    const ends = this.x.map((step, end) =>
      `<text x="${this.px(step)}" y="${bottom + 15}" text-anchor="${end ? "end" : "start"}">${end ? "" : "step "}${step}</text>`);
    find(".drawing", this.element).replaceChildren(elements(`<svg viewBox="0 0 ${panel.width} ${panel.height}" role="img"
      aria-label="${escaped(this.curve.name)} by step">${grid.join("")}${ends.join("")}${lines.join("")}
      <line class="cross" y1="${panel.top}" y2="${bottom}" x1="-9" x2="-9"/></svg>`));
  }

  hover(event) {
    const box = find("svg", this.element).getBoundingClientRect();
    const inner = panel.width - panel.left - panel.right;
    const share = ((event.clientX - box.left) / box.width * panel.width - panel.left) / inner;
    const wanted = this.x[0] + Math.min(1, Math.max(0, share)) * (this.x[1] - this.x[0]);
    let at = null;
    const texts = this.curve.lines.map(({ seed, steps, values }) => {
      let near = 0;
      steps.forEach((step, place) => {
        if (Math.abs(step - wanted) < Math.abs(steps[near] - wanted)) near = place;
      });
      at ??= steps[near];
      const over = this.weight ? ` (${short(smoothed(values, this.weight)[near])})` : "";
      return `seed ${seed}: ${short(values[near])}${over}`;
    });
    const cross = find(".cross", this.element);
    cross.setAttribute("x1", this.px(at));
    cross.setAttribute("x2", this.px(at));
    find(".readout", this.element).textContent = `step ${at}: ${texts.join(", ")}`;
  }

  leave() {
    all(".cross", this.element).forEach((line) => ["x1", "x2"].forEach((end) => line.setAttribute(end, -9)));
    find(".readout", this.element).textContent = "\u00a0";
  }
}

all(".curves").forEach((root) => whenSeen(root, () => {
  const { curves, seeds } = data.experiments[Number(root.dataset.experiment)].curves[Number(root.dataset.stage)];
  const panels = curves.map((curve) => new Panel(curve, seeds));
  const legend = seeds.length < 2 ? "" : seeds.map((seed, place) =>
    `<span><i style="background: ${lineColors[place % lineColors.length]}"></i>seed ${seed}</span>`).join("");
  find(".legend", root).replaceChildren(elements(legend));
  find(".panels", root).replaceChildren(...panels.map((one) => one.element));
  find("[name=smoothing]", root).addEventListener("input", (event) => panels.forEach((one) => {
    one.weight = Number(event.target.value);
    one.draw();
  }));
}));
