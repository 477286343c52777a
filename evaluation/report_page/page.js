/* The figures, and tables that are sorted by a click on a heading. */
'use strict';

const page = JSON.parse(document.getElementById('page-data').textContent);
const PLOT_SETTINGS = {responsive: true, displaylogo: false, displayModeBar: false};

for (const [name, figure] of Object.entries(page.figures)) {
  Plotly.newPlot(name, figure.data, figure.layout, PLOT_SETTINGS);
}

/* The number in a cell such as "1,234", "+5.00" or "–"; cells without a number come last. */
function numberIn(cell) {
  const number = parseFloat(cell.textContent.replace(/,/g, ''));
  return Number.isNaN(number) ? null : number;
}

function sortTable(table, heading) {
  const column = heading.cellIndex;
  const isText = heading.dataset.kind === 'text';
  // the first click shows what one looks for: texts from A to Z, numbers from the highest down
  const first = isText ? 'ascending' : 'descending';
  const other = isText ? 'descending' : 'ascending';
  const order = heading.getAttribute('aria-sort') === first ? other : first;
  const sign = order === 'ascending' ? 1 : -1;
  const rows = Array.from(table.tBodies[0].rows, row => ({
    row, value: isText ? row.cells[column].textContent : numberIn(row.cells[column])}));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    return sign * (isText ? a.value.localeCompare(b.value) : a.value - b.value);
  });
  table.tBodies[0].append(...rows.map(entry => entry.row));
  for (const cell of table.tHead.querySelectorAll('th')) cell.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', order);
}

for (const table of document.querySelectorAll('table.sortable')) {
  const headings = table.tHead.rows[table.tHead.rows.length - 1].cells;
  for (const heading of headings) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener('click', () => sortTable(table, heading));
  }
}

document.getElementById('class-search').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.getElementById('class-table').tBodies[0].rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  }
});
