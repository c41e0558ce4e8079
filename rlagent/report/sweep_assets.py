"""What the page of a sweep needs beside assets.py: more style, and the script that sorts tables."""

STYLE = """
.scroll { overflow: auto; max-height: 640px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 7px 8px; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th { position: sticky; top: 0; background: var(--card); white-space: nowrap; z-index: 1;
  box-shadow: inset 0 -1px var(--line); border: 0; font-weight: 600; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--c1); outline-offset: 2px; }
th button::after { content: "↕"; color: var(--soft); opacity: .45; padding-left: 5px; }
th[aria-sort=ascending] button::after { content: "↑"; opacity: 1; color: var(--c1); }
th[aria-sort=descending] button::after { content: "↓"; opacity: 1; color: var(--c1); }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
table.trials td.o { min-width: 250px; }
.chart + .chart { margin-top: 12px; }
.key { white-space: normal; overflow-wrap: anywhere; }
td.o, code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
td.o small { display: block; color: var(--soft); font: 13px/1.4 system-ui, sans-serif;
  max-width: 480px; }
tr.best td { background: color-mix(in srgb, var(--good) 9%, transparent); }
td .state { margin: 0; vertical-align: 0; }
a { color: var(--c1); }
.command { padding: 12px 16px; white-space: pre-wrap; overflow-wrap: anywhere; }
.tile b.long { white-space: normal; overflow-wrap: anywhere; font-size: 15px; }
svg .behind { stroke: var(--c5); stroke-width: 1; opacity: var(--faint); }
svg .trial { fill: none; stroke: var(--c5); stroke-width: 1.2; opacity: var(--faint); }
svg .trial.top { stroke: var(--c1); stroke-width: 1.8; opacity: .85; }
svg .trial.first { stroke: var(--c2); stroke-width: 3; opacity: 1; }
svg .trial:hover { stroke: var(--ink); stroke-width: 3; opacity: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .name { fill: var(--ink); font-size: 12px; font-weight: 600; }
svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
.pad svg { min-width: 760px; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 8px 14px;
  padding: 14px 16px; align-items: center; }
.bars > span:nth-child(3n + 1) { max-width: 340px; overflow-wrap: anywhere; }
.bars i { display: block; height: 12px; border-radius: 3px; background: var(--c1);
  min-width: 2px; }
.pad { padding: 6px 16px 12px; overflow-x: auto; }
ul.pad { margin: 0; padding: 0 16px 12px 36px; }
.pad li { overflow-wrap: anywhere; margin: 4px 0; }
"""

SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.querySelectorAll('th')];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = head.querySelector('button');
    if (!button) return;
    button.addEventListener('click', () => {
      const numeric = head.classList.contains('n');
      const before = head.getAttribute('aria-sort');
      const rising = before ? before !== 'ascending' : head.dataset.first !== 'descending';
      const key = row => row.cells[column].dataset.v ?? '';
      const rows = [...body.rows].sort((one, other) => {
        const a = key(one), b = key(other);
        // Rows without a value stay last, whichever way the others run.
        if (a === '' || b === '') return (a === '') - (b === '');
        const order = numeric ? a - b : a.localeCompare(b, 'en', {numeric: true});
        return rising ? order : -order;
      });
      body.append(...rows);
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
    });
  });
}
"""
