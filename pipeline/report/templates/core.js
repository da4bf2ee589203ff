"use strict";
// What the page knows, and the few helpers that all its parts use.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// The elements that a text of HTML describes.
function elements(text) {
  const template = document.createElement("template");
  template.innerHTML = text;
  return template.content;
}

// Mean and sample deviation of what is there; null for nothing.
function spread(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return null;
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  const squares = known.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, sd: known.length > 1 ? Math.sqrt(squares / (known.length - 1)) : null, count: known.length };
}

function shown(figure, signed = false) {
  if (!figure) return "";
  const sign = signed && figure.mean >= 0 ? "+" : "";
  return `${sign}${figure.mean.toFixed(2)}${figure.sd === null ? "" : ` ± ${figure.sd.toFixed(2)}`}`;
}

// Differences of two rows, seed by seed.
function paired(row, baseline) {
  const seeds = Object.keys(row.values).filter((seed) => seed in baseline.values);
  return spread(seeds.map((seed) => row.values[seed] - baseline.values[seed]));
}

const themes = ["auto", "dark", "light"];
find("#theme").addEventListener("click", (event) => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  document.documentElement.dataset.theme = next;
  event.currentTarget.textContent = `theme: ${next}`;
});

// Parts of the page are drawn when they come into sight for the first time.
function whenSeen(element, draw) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    draw();
  }, { rootMargin: "300px" });
  observer.observe(element);
}
