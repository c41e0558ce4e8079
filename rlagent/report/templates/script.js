// Lets the charts below an element be pointed at, and its tables be sorted.
function wire(root) {
  for (const chart of root.querySelectorAll('.chart')) {
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

  for (const table of root.querySelectorAll('table.sortable')) {
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
}
wire(document);
