// The ranking: a histogram of the scores, and the cut between easy and hard, which can be moved over it.
const chart = { width: 640, height: 180, left: 34, bottom: 26, bins: 40 };

class Ranking {
  constructor(root, seeds) {
    Object.assign(this, { root, seeds });
    this.share = find("[name=share]", root);
    find("[name=seed]", root).addEventListener("change", () => this.choose());
    this.share.addEventListener("input", () => this.draw());
    const drawing = find(".drawing", root);
    for (const kind of ["pointerdown", "pointermove"]) {
      drawing.addEventListener(kind, (event) => event.buttons && this.moveTo(event, drawing));
    }
    this.choose();
  }

  // The cut where the pointer is: as many images are easy as have a lower score.
  moveTo(event, drawing) {
    const box = drawing.firstElementChild.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width * chart.width - chart.left) / (chart.width - chart.left);
    const { scores } = this.ranking;
    const score = scores[0] + across * (scores[scores.length - 1] - scores[0]);
    this.share.value = scores.filter((one) => one <= score).length / scores.length;
    this.draw();
  }

  choose() {
    this.ranking = this.seeds[Number(find("[name=seed]", this.root).value)];
    this.share.value = this.ranking.share;
    this.draw();
  }

  // How many images are easy: all of a share, rounded as the split does.
  get easy() {
    return Number(this.share.value) === this.ranking.share
      ? this.ranking.easy : Math.floor(Number(this.share.value) * this.ranking.scores.length);
  }

  draw() {
    const { scores, thumbnails, share } = this.ranking;
    const [low, high] = [scores[0], scores[scores.length - 1]];
    const width = (high - low || 1) / chart.bins;
    const bins = Array.from({ length: chart.bins }, () => [0, 0]);
    scores.forEach((score, place) => {
      bins[Math.min(chart.bins - 1, Math.floor((score - low) / width))][place < this.easy ? 0 : 1] += 1;
    });
    const top = Math.max(...bins.map(([easy, hard]) => easy + hard));
    const step = (chart.width - chart.left) / chart.bins;
    const scale = (chart.height - chart.bottom - 8) / top;
    const base = chart.height - chart.bottom;
    const bars = bins.map(([easy, hard], bin) => {
      const x = chart.left + bin * step;
      const rect = (kind, y, count) => count
        ? `<rect class="${kind}" x="${x + 0.5}" y="${base - (y + count) * scale}" width="${step - 1}" height="${count * scale}"/>` : "";
      return rect("easy", 0, easy) + rect("hard", easy, hard);
    });
    const cut = this.easy ? scores[this.easy - 1] : low;
    const x = chart.left + ((cut - low) / (high - low || 1)) * (chart.width - chart.left);
    find(".drawing", this.root).replaceChildren(elements(`<svg viewBox="0 0 ${chart.width} ${chart.height}" role="img"
      aria-label="images by score">${bars.join("")}<line class="cutline" x1="${x}" x2="${x}" y1="2" y2="${base}"/>
      <text x="${chart.left - 5}" y="5" text-anchor="end">${top}</text>
      <text x="${chart.left}" y="${base + 5}">${low.toFixed(3)}</text>
      <text x="${chart.width}" y="${base + 5}" text-anchor="end">${high.toFixed(3)}</text></svg>`));
    const moved = Number(this.share.value) === share ? "as trained" : `to train with it: split.lambda: ${this.share.value}`;
    find(".told", this.root).textContent =
      `lambda ${this.share.value}: ${this.easy} easy, ${scores.length - this.easy} hard, score of the cut ${cut.toFixed(4)}; ${moved}`;
    const tiles = thumbnails.map(({ name, photo, place }) =>
      `<figure class="${place < this.easy ? "easy" : "hard"}"><img src="${photo}" alt="${escaped(name)}" loading="lazy">
        <figcaption>${scores[place].toFixed(3)}</figcaption></figure>`);
    find(".thumbnails", this.root).replaceChildren(elements(tiles.join("")));
  }
}

all(".ranking").forEach((root) =>
  whenSeen(root, () => new Ranking(root, data.experiments[Number(root.dataset.experiment)].rankings)));
