"use strict";
// The page says everything without this: it adds copy buttons, filters, and names of points.
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  for (const block of all("pre.copied")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${block.getAttribute("aria-label")}`);
    button.addEventListener("click", async () => {
      const range = document.createRange();
      range.selectNodeContents(block);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      try {
        await navigator.clipboard.writeText(block.textContent.trim() + "\n");
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected: press Ctrl-C";
      }
    });
    block.before(button);
  }

  const filters = one("#filters");
  if (filters) {
    filters.hidden = false;
    const failing = one("input[type=checkbox]", filters);
    const word = one("input[type=search]", filters);
    const apply = () => {
      for (const row of all(".matrix tbody tr")) {
        const told = row.textContent.toLowerCase();
        row.hidden = (failing.checked && !one("td.fail", row)) || !told.includes(word.value.toLowerCase());
      }
    };
    failing.addEventListener("change", apply);
    word.addEventListener("input", apply);
  }

  const carried = one("#record");
  const charts = all("figure[data-field]");
  if (!carried || !charts.length || !("DecompressionStream" in window)) return;

  const decoded = async () => {
    const bytes = Uint8Array.from(atob(carried.href.split(",")[1]), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  let record;
  const points = (field) => record.checks.filter((check) => check.verdict !== "not_judged").flatMap((check) =>
    check.measurements.map((m) => [Math.min(m[field] ?? 0, field === "magnitude" ? Infinity : 1e12), m, check]))
    .filter(([x]) => x > 0);

  for (const chart of charts) {
    const [left, right, top, bottom, x0, x1, y0, y1] = chart.dataset.plane.split(" ").map(Number);
    const picture = one("svg", chart);
    const told = one("figcaption output", chart);
    let own;
    const nearest = async (event) => {
      record ??= await (decoded.started ??= decoded());
      own ??= points(chart.dataset.field);
      const box = picture.getBoundingClientRect();
      const px = (event.clientX - box.left) / box.width, py = (event.clientY - box.top) / box.height;
      const share = (value, low, high) => (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low));
      let best = null, least = 0.0009;
      for (const [x, m, check] of own) {
        const ratio = Math.min(Math.max(m.ratio, y0), y1);
        const dx = left + share(x, x0, x1) * (right - left) - px;
        const dy = bottom - share(ratio, y0, y1) * (bottom - top) - py;
        const distance = dx * dx + dy * dy;
        if (distance < least) [best, least] = [[m, check], distance];
      }
      told.textContent = best ? `≈ ${best[0].ratio.toPrecision(3)}× ${best[1].property}  ${best[0].case}` : "";
    };
    picture.addEventListener("pointermove", nearest);
    picture.addEventListener("pointerleave", () => { told.textContent = ""; });
  }
})();
