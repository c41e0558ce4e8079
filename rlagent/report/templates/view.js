// Looks every few seconds whether the page has changed, and replaces what has: the element `live`,
// which says in data-live after how many seconds (0: no more).
(function () {
  let tag = '', timer;
  const gone = document.getElementById('gone');
  const parts = root => [...root.querySelectorAll('a, button, summary, input')];

  // A table stays sorted, an open part open, a ticked box ticked, and the focus where it was.
  function replace(fresh) {
    const old = document.getElementById('live');
    const focus = parts(old).indexOf(document.activeElement);
    const sorted = [...old.querySelectorAll('table.sortable')].map(table => {
      const heads = [...table.querySelectorAll('th')];
      const column = heads.findIndex(head => head.hasAttribute('aria-sort'));
      return [column, column < 0 ? '' : heads[column].getAttribute('aria-sort')];
    });
    const ticked = new Set([...old.querySelectorAll('input:checked')].map(each => each.value));
    const open = [...old.querySelectorAll('details')].map(each => each.open);
    old.replaceWith(fresh);
    wire(fresh);
    [...fresh.querySelectorAll('table.sortable')].forEach((table, index) => {
      const [column, order] = sorted[index] ?? [-1, ''];
      const head = table.querySelectorAll('th')[column];
      if (!head) return;
      const press = () => head.querySelector('button').click();
      press();
      if (head.getAttribute('aria-sort') !== order) press();
    });
    [...fresh.querySelectorAll('details')].forEach((each, index) => {
      each.open = open[index] ?? each.open;
    });
    for (const each of fresh.querySelectorAll('input')) each.checked = ticked.has(each.value);
    if (focus >= 0) parts(fresh)[focus]?.focus({preventScroll: true});
  }

  async function look() {
    try {
      const answer = await fetch(location.href, {
        cache: 'no-store', headers: tag ? {'If-None-Match': tag} : {},
      });
      if (answer.status === 200) {
        tag = answer.headers.get('ETag') ?? '';
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        const fresh = page.getElementById('live');
        if (fresh) replace(document.adoptNode(fresh));
      }
      gone.hidden = answer.ok || answer.status === 304;
    } catch {
      gone.hidden = false;
    }
    plan();
  }

  function plan() {
    const seconds = Number(document.getElementById('live')?.dataset.live ?? 0);
    clearTimeout(timer);
    if (seconds > 0 && !document.hidden) timer = setTimeout(look, 1000 * seconds);
  }
  document.addEventListener('visibilitychange', plan);
  plan();
})();
