// The gallery: two answers to the same images, with a slider between them over the photo.
const orders = {
  given: () => 0,
  worst: (image) => image.figure ?? Infinity,
  changed: (image) => -(image.changed ?? 0),
  uncertain: (image) => -(image.entropy ?? 0),
};

// Pixels of a map, once per source: ids by their colors.
const pixels = new Map();
async function pixelsOf(source) {
  if (!pixels.has(source)) {
    pixels.set(source, createImageBitmap(await (await fetch(source)).blob()).then((bitmap) => {
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, 0, 0);
      return new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
    }));
  }
  return pixels.get(source);
}

async function changedShare(before, after) {
  if (!before || !after || before === after) return 0;
  const [one, other] = await Promise.all([pixelsOf(before), pixelsOf(after)]);
  let count = 0;
  for (let place = 0; place < one.length; place++) count += one[place] !== other[place];
  return count / one.length;
}

class Gallery {
  constructor(root, gallery) {
    this.root = root;
    this.gallery = gallery;
    this.control = (name) => find(`[name=${name}]`, root);
    for (const name of ["before", "after", "order", "class", "count"]) {
      this.control(name).addEventListener("change", () => this.draw());
    }
    this.control("opacity").addEventListener("input", (event) => this.setStyle("--opacity", event.target.value));
    this.control("cut").addEventListener("input", (event) => this.setStyle("--cut", `${event.target.value}%`));
    this.dialog = new Closer(find("dialog", root), this);
    this.draw();
  }

  setStyle(name, value) {
    this.root.style.setProperty(name, value);
    all("figure.pair", this.root).forEach((figure) => figure.style.removeProperty(name));
  }

  // The map of an answer (`label`, `map:ROW`, `entropy:ROW`) to an image; none for `photo`.
  source(answer, place) {
    const [kind, row] = answer.split(":");
    if (kind === "label") return this.gallery.images[place].label;
    if (kind === "photo") return null;
    const found = this.gallery.answers[row][place];
    return found && (kind === "entropy" ? found.entropy_map : found.map);
  }

  async chosen() {
    const [before, after] = [this.control("before").value, this.control("after").value];
    const figures = (answer, place) => this.gallery.answers[answer.split(":")[1]]?.[place];
    const images = this.gallery.images.map(({ name, photo, classes }, place) => {
      const [one, other] = [figures(before, place), figures(after, place)];
      const [first, second] = [this.source(before, place), this.source(after, place)];
      return { name, photo, place, first, second, classes: classes ?? other?.classes ?? [], was: one?.figure,
        figure: other?.figure, entropy: other?.entropy };
    });
    await Promise.all(images.map(async (image) => {
      image.changed = await changedShare(image.first, image.second);
    }));
    const wanted = this.control("class").value;
    const kept = wanted === "" ? images : images.filter(({ classes }) => classes.includes(Number(wanted)));
    const order = orders[this.control("order").value];
    return kept.sort((one, other) => order(one) - order(other) || one.place - other.place)
      .slice(0, Number(this.control("count").value));
  }

  async draw() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const images = await this.chosen();
    if (turn !== this.turn) return;
    this.images = images;
    const place = find(".pairs", this.root);
    place.replaceChildren(...images.map((image, index) => this.figure(image, index)));
    if (!images.length) place.append(elements(`<p class="missing">no image holds this class</p>`));
    this.root.dataset.drawn = turn;
  }

  figure(image, index) {
    const layer = (kind, source) => (source ? `<img class="${kind}" src="${source}" alt="">` : "");
    const figure = elements(`<figure class="pair" tabindex="0" data-name="${escaped(image.name)}">
      <div class="layers"><img src="${image.photo}" alt="${escaped(image.name)}">${layer("before", image.first)}
      ${layer("after", image.second)}<i class="handle"></i></div>
      <figcaption>${escaped(image.name)} <span class="soft">${this.caption(image)}</span></figcaption></figure>`).firstElementChild;
    const layers = find(".layers", figure);
    layers.addEventListener("pointermove", (event) => this.moveCut(figure, layers, event));
    layers.addEventListener("click", () => this.dialog.open(index));
    figure.addEventListener("keydown", (event) => this.pressed(event, figure, index));
    return figure;
  }

  caption({ was, figure, changed, entropy }) {
    const number = (value) => (value === null || value === undefined ? null : value.toFixed(1));
    const scores = [number(was), number(figure)].filter((text) => text !== null).join(" → ");
    return [scores && `IoU ${scores}`, `changed ${(100 * changed).toFixed(0)}\u00a0%`,
      entropy === undefined ? "" : `entropy ${entropy.toFixed(2)}`].filter(Boolean).join(", ");
  }

  moveCut(figure, layers, event) {
    const box = layers.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    figure.style.setProperty("--cut", `${(100 * share).toFixed(1)}%`);
  }

  pressed(event, figure, index) {
    if (event.key === "Enter") return this.dialog.open(index);
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (!step) return undefined;
    event.preventDefault();
    const cut = parseFloat(getComputedStyle(figure).getPropertyValue("--cut")) + step;
    return figure.style.setProperty("--cut", `${Math.min(100, Math.max(0, cut))}%`);
  }
}

// One image large: zoom by wheel, + and -, moved by dragging; the arrow keys go to the next.
class Closer {
  constructor(dialog, gallery) {
    Object.assign(this, { dialog, gallery, zoom: 1, x: 0, y: 0 });
    find(".close", dialog).addEventListener("click", () => dialog.close());
    find(".in", dialog).addEventListener("click", () => this.scale(1.5));
    find(".out", dialog).addEventListener("click", () => this.scale(1 / 1.5));
    find(".stage", dialog).addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    });
    find(".stage", dialog).addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      this.x += event.movementX;
      this.y += event.movementY;
      this.place();
    });
    dialog.addEventListener("keydown", (event) => this.pressed(event));
  }

  open(index) {
    Object.assign(this, { index, zoom: 1, x: 0, y: 0 });
    const image = this.gallery.images[index];
    const layer = (kind, source) => (source ? `<img class="${kind}" src="${source}" alt="">` : "");
    find(".stage", this.dialog).replaceChildren(elements(`<div class="layers"><img src="${image.photo}" alt="" draggable="false">
      ${layer("before", image.first)}${layer("after", image.second)}<i class="handle"></i></div>`));
    find(".title", this.dialog).textContent = `${image.name}: ${this.gallery.caption(image)}`;
    find("[name=large-cut]", this.dialog).value = 50;
    this.cut(50);
    find("[name=large-cut]", this.dialog).oninput = (event) => this.cut(event.target.value);
    if (!this.dialog.open) this.dialog.showModal();
    find(".stage", this.dialog).focus();
    this.place();
  }

  cut(value) {
    this.dialog.style.setProperty("--cut", `${value}%`);
  }

  scale(factor) {
    this.zoom = Math.min(12, Math.max(1, this.zoom * factor));
    if (this.zoom === 1) Object.assign(this, { x: 0, y: 0 });
    this.place();
  }

  place() {
    find(".layers", this.dialog).style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
  }

  pressed(event) {
    const count = this.gallery.images.length;
    if (event.key === "+") this.scale(1.5);
    else if (event.key === "-") this.scale(1 / 1.5);
    else if (event.target.matches("input")) return; // arrows move its slider
    else if (event.key === "ArrowRight") this.open((this.index + 1) % count);
    else if (event.key === "ArrowLeft") this.open((this.index + count - 1) % count);
  }
}

all(".gallery").forEach((root) => whenSeen(root, () => new Gallery(root, data.tasks[Number(root.dataset.task)].gallery)));
