"""The page's style and its one small script, as text inside the page: a report is one file."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --soft: #59636e; --line: #dfe3e8;
  --c1: #2463c4; --c2: #c4600f; --c3: #23834d; --c4: #7b4bbf; --c5: #7d8894;
  --good: #1a7f45; --good-bg: #e3f4e9; --bad: #b3261e; --bad-bg: #fbe6e4;
  --warn: #8a5a00; --warn-bg: #fdf1d8; --code: #f1f3f6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111417; --card: #1a1e23; --ink: #e6e9ed; --soft: #9aa4af; --line: #2d343c;
    --c1: #6ea2f5; --c2: #f0965a; --c3: #5fc389; --c4: #b394ea; --c5: #8b96a2;
    --good: #6fd39a; --good-bg: #17321f; --bad: #ff8f86; --bad-bg: #3d1d1b;
    --warn: #e9bd62; --warn-bg: #38290c; --code: #12161a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
header h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
header p { margin: 2px 0; color: var(--soft); overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 12px; }
h2 + p { margin-top: -6px; color: var(--soft); }
.state { font-size: 13px; font-weight: 600; padding: 2px 9px; border-radius: 999px;
  vertical-align: 3px; margin-left: 8px; white-space: nowrap; }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.warn { color: var(--warn); background: var(--warn-bg); }
header .cause { color: var(--ink); border-left: 3px solid var(--bad); padding: 8px 12px;
  margin: 12px 0 0;
  background: var(--bad-bg); border-radius: 0 6px 6px 0; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 20px; }
.tile { padding: 13px 16px; flex: 1 1 165px; }
.tile.wide { flex: 2 1 300px; }
.tile.wide b { font-size: 30px; line-height: 1.25; }
.tile > span { display: block; color: var(--soft); font-size: 13px; }
.tile b { display: block; font-size: 20px; line-height: 1.4; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile small { display: block; white-space: nowrap; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.arrow { color: var(--soft); font-weight: 400; }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; }
.chart { position: relative; margin: 0; padding: 12px 12px 4px; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; min-width: 0; }
.hero { margin-top: 12px; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; justify-content: space-between;
  padding: 0 4px 4px; font-size: 14px; }
.legend { display: inline-flex; flex-wrap: wrap; gap: 2px 14px; color: var(--soft);
  font-size: 13px; }
.key { white-space: nowrap; }
.key i { display: inline-block; width: 14px; border-top: 3px solid; vertical-align: 4px;
  margin-right: 6px; }
.key i.dashed { border-top-style: dashed; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .tick { fill: var(--soft); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .pale { stroke-width: 1; opacity: .3; }
svg .line.c5 { stroke-width: 1.5; }
svg .line.pale.c5 { stroke-width: 1; }
.narrow { display: none; }
svg .dashed { stroke-dasharray: 6 5; }
svg .band { stroke: none; opacity: .17; }
svg .area { stroke: var(--card); stroke-width: .5; opacity: .8; }
svg .whisker { stroke-width: 1.5; opacity: .8; }
svg .dot { stroke: var(--card); stroke-width: 1.5; }
svg .cursor { stroke: var(--soft); stroke-width: 1; visibility: hidden; }
.c1 { stroke: var(--c1); border-color: var(--c1) !important; }
.c2 { stroke: var(--c2); border-color: var(--c2) !important; }
.c3 { stroke: var(--c3); border-color: var(--c3) !important; }
.c4 { stroke: var(--c4); border-color: var(--c4) !important; }
.c5 { stroke: var(--c5); border-color: var(--c5) !important; }
.band.c1, .area.c1, .dot.c1 { fill: var(--c1); } .band.c2, .area.c2, .dot.c2 { fill: var(--c2); }
.band.c3, .area.c3, .dot.c3 { fill: var(--c3); } .band.c4, .area.c4, .dot.c4 { fill: var(--c4); }
.tip { position: absolute; pointer-events: none; background: var(--ink); color: var(--page);
  font-size: 12.5px; line-height: 1.4; padding: 5px 9px; border-radius: 6px;
  white-space: nowrap; z-index: 2; font-variant-numeric: tabular-nums; }
details { margin-top: 10px; }
summary { cursor: pointer; padding: 11px 16px; }
summary::marker { color: var(--soft); }
.task > summary { display: list-item; }
.task .question { display: inline; overflow-wrap: anywhere; }
.badge { font-size: 12.5px; font-weight: 600; padding: 1px 8px; border-radius: 999px;
  white-space: nowrap; }
.task .badges { float: right; margin-left: 12px; }
.sides { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr));
  border-top: 1px solid var(--line); }
.side { padding: 12px 16px 16px; min-width: 0; }
.side + .side { border-left: 1px solid var(--line); }
.side h3 { margin: 0 0 8px; font-size: 14px; display: flex; gap: 8px; align-items: center; }
.given { padding: 8px 16px 12px; border-top: 1px solid var(--line); }
.given summary { padding: 0; color: var(--soft); font-size: 14px; }
.given .turn { margin-top: 4px; }
.side h4 { margin: 14px 0 0; font-size: 13px; color: var(--soft); }
.turn { margin-top: 9px; }
.role { font-size: 12px; font-weight: 600; color: var(--soft); }
.text, .result, .call, .thought { white-space: pre-wrap; overflow-wrap: anywhere; }
.call, .result { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace;
  background: var(--code); border-radius: 6px; padding: 6px 10px; margin-top: 4px; }
.call b { color: var(--c1); }
.thought { color: var(--soft); font-style: italic; }
.facts { margin: 0; padding: 4px 16px 12px; }
.facts div { display: flex; gap: 12px; padding: 5px 0; border-bottom: 1px solid var(--line); }
.facts div:last-child { border: 0; }
.facts dt { flex: 0 0 160px; color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
pre { margin: 0; padding: 4px 16px 14px; overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace; }
.none { padding: 14px 16px; color: var(--soft); }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 720px) {
  main { padding: 20px 12px 40px; }
  .narrow { display: block; } .wide-only { display: none; }
  .grid, .sides { grid-template-columns: minmax(0, 1fr); }
  .tiles { gap: 8px; }
  .tile { padding: 10px 12px; } .tile b { font-size: 18px; } .tile.wide b { font-size: 24px; }
  .tile.wide { flex-basis: 100%; }
  .side + .side { border-left: 0; border-top: 1px solid var(--line); }
  .facts dt { flex-basis: 112px; }
  .task .badges { float: none; margin: 0 8px 0 0; }
}
@media print { body { background: none; } details:not([open]) { display: none; } }
"""

SCRIPT = """
for (const chart of document.querySelectorAll('.chart')) {
  const data = JSON.parse(chart.dataset.chart);
  const svg = chart.querySelector('svg');
  const cursor = chart.querySelector('.cursor');
  const tip = chart.querySelector('.tip');
  const hide = () => { tip.hidden = true; cursor.style.visibility = 'hidden'; };
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / data.width;
    const at = (event.clientX - box.left) / scale;
    let near = data.points[0];
    for (const point of data.points) {
      if (Math.abs(point[0] - at) < Math.abs(near[0] - at)) near = point;
    }
    cursor.setAttribute('x1', near[0]);
    cursor.setAttribute('x2', near[0]);
    cursor.style.visibility = 'visible';
    tip.replaceChildren();
    for (const text of ['step ' + near[1], ...near[2]]) {
      const line = document.createElement('div');
      line.textContent = text;
      tip.append(line);
    }
    tip.hidden = false;
    const outer = chart.getBoundingClientRect();
    const x = near[0] * scale + box.left - outer.left;
    const fits = x + 12 + tip.offsetWidth < outer.width - 4;
    tip.style.left = (fits ? x + 12 : Math.max(4, x - 12 - tip.offsetWidth)) + 'px';
    tip.style.top = Math.max(4, event.clientY - outer.top - tip.offsetHeight - 12) + 'px';
  });
  svg.addEventListener('pointerleave', hide);
}
"""
