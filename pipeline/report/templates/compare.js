// The comparison: sorting; with labels any row as the baseline, and one row's classes and confusion matrix.
const own = "own";

function baselineOf(task, row, chosen) {
  if (chosen !== own) return task.rows[Number(chosen)];
  return row.baseline === null ? null : task.rows[row.baseline];
}

function updateGains(section, task) {
  const chosen = find(".baseline", section).value;
  for (const line of all("tr[data-row]", section)) {
    const row = task.rows[Number(line.dataset.row)];
    const baseline = baselineOf(task, row, chosen);
    const gain = baseline && baseline !== row ? paired(row, baseline) : null;
    const cell = find(".gain", line);
    cell.textContent = shown(gain, true);
    cell.dataset.value = gain ? gain.mean : "";
    cell.className = `gain ${gain ? (gain.mean > 0 ? "up" : "down") : ""}`;
    cell.title = gain ? `${gain.count} pair(s) against ${baseline.name}` : "";
    line.classList.toggle("base", baseline === row);
  }
}

function sortTable(table, button) {
  const head = button.closest("th");
  const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const value = (line) => line.children[head.cellIndex].dataset.value ?? line.children[head.cellIndex].textContent;
  const order = (first, second) => {
    const [one, other] = [value(first), value(second)];
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (isNaN(one) || isNaN(other) ? one.localeCompare(other) : one - other);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
  table.classList.add("sorted");
}

function bar(name, color, value, base) {
  const width = value === null ? 0 : value;
  const tick = base === null || base === undefined ? "" : `<i class="tick" style="left: ${base}%"></i>`;
  const gain = value === null || base === null || base === undefined ? null : value - base;
  const change = gain === null ? "" : `<b class="${gain > 0.05 ? "up" : gain < -0.05 ? "down" : "soft"}">${gain > 0 ? "+" : ""}${gain.toFixed(1)}</b>`;
  return `<div class="classbar"><span><i class="swatch" style="background: ${color}"></i>${escaped(name)}</span>
    <span class="track"><i class="fill" style="width: ${width}%; background: ${color}"></i>${tick}</span>
    <span class="figure">${value === null ? "absent" : value.toFixed(1)} ${change}</span></div>`;
}

function drawClasses(section, task) {
  const row = task.rows[Number(find(".shown", section).value)];
  const baseline = baselineOf(task, row, find(".baseline", section).value);
  const place = find(".classbars", section);
  if (!place) return;
  const lines = task.classes.map(({ name, color }, index) =>
    bar(name, color, row.classes[index], baseline && baseline !== row ? baseline.classes[index] : null));
  place.replaceChildren(elements(lines.join("")));
  find(".measured", section).textContent =
    baseline && baseline !== row ? `The line in each bar, and the difference: ${baseline.name}.` : "";
}

function drawConfusion(section, task) {
  const place = find(".confusion", section);
  const row = task.rows[Number(find(".shown", section).value)];
  if (!place) return;
  if (!row.matrix) {
    place.replaceChildren(elements(`<p class="missing">no figures</p>`));
    return;
  }
  const byLabel = find(".per", section).value === "label";
  const sums = row.matrix.map((line, index) =>
    byLabel ? line.reduce((sum, count) => sum + count, 0) : row.matrix.reduce((sum, other) => sum + other[index], 0));
  const cell = (count, of, title) => {
    const share = of ? count / of : 0;
    const text = share >= 0.0005 ? (100 * share).toFixed(share < 0.1 ? 1 : 0) : "";
    return `<td class="heat" style="--shade: ${share.toFixed(3)}" title="${title}">${text}</td>`;
  };
  const names = task.classes.map(({ name }) => escaped(name));
  const lines = row.matrix.map((line, label) => `<tr><th>${names[label]}</th>${line.map((count, found) => {
    const title = `${count.toLocaleString("en")} pixels of ${names[label]} taken for ${names[found]}`;
    return cell(count, sums[byLabel ? label : found], title);
  }).join("")}</tr>`);
  const heads = names.map((name) => `<th class="narrow"><span class="tilted">${name}</span></th>`).join("");
  place.replaceChildren(elements(`<table class="matrix"><thead><tr><th class="text">label \\ prediction</th>${heads}</tr></thead>
    <tbody>${lines.join("")}</tbody></table>`));
}

function followChoices(section, task) {
  const redraw = () => {
    updateGains(section, task);
    drawClasses(section, task);
    drawConfusion(section, task);
  };
  const show = (row) => {
    find(".shown", section).value = row;
    redraw();
  };
  find(".baseline", section).addEventListener("change", redraw);
  find(".shown", section)?.addEventListener("change", redraw);
  find(".per", section)?.addEventListener("change", redraw);
  all("tr[data-row] th button", section).forEach((button) =>
    button.addEventListener("click", () => {
      show(button.closest("tr").dataset.row);
      find(".shown", section).scrollIntoView({ block: "center" });
    }));
  redraw();
}

all("section.task").forEach((section) => {
  find(".finals", section)?.addEventListener("change", (event) =>
    find("table.compare", section).classList.toggle("only-finals", event.target.checked));
  all("table.compare thead button", section).forEach((button) =>
    button.addEventListener("click", () => sortTable(button.closest("table"), button)));
  if (find(".baseline", section)) followChoices(section, data.tasks[Number(section.dataset.task)]);
});
