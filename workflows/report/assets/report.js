'use strict';
// Text from the web only ever goes through textContent; there is no innerHTML in this file.
const data = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';
const $ = (selector, inside = document) => inside.querySelector(selector);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}
function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const titled = (shape, text) => { shape.append(drawn('title', {}, text)); return shape; };
const number = (value, digits = 2) => value === null || value === undefined ? '' : Number(value).toLocaleString('en', {maximumFractionDigits: digits});
const percent = value => value === null || value === undefined ? '' : `${(100 * value).toFixed(1)} %`;
const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, '0')}`;
const colour = place => `var(--c${Math.min(place, 6)})`;

// -- summary, funnel, signals ------------------------------------------------------------------------------------------

function summary() {
  const it = data.summary;
  const tiles = [
    ['decoded', `${number(it.hours_in)} h`], ['kept', `${number(it.hours_kept)} h`],
    ['share kept', it.hours_in ? percent(it.hours_kept / it.hours_in) : ''], ['segments kept', number(it.kept)],
    ['expected WER of what is kept', percent(it.expected_wer)], ['channels', number(it.channels)], ['after stage', it.stage],
  ];
  $('#summary').append(element('dl', {class: 'tiles'}, ...tiles.filter(([, value]) => value !== '' && value !== null)
    .map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, String(value))))));
  if (data.notes.length) {
    $('#notes').hidden = false;
    $('#notes').append(...data.notes.map(note => element('p', {}, note)));
  }
}

function funnel() {
  const stages = data.funnel.filter(row => row.reason === null);
  const most = Math.max(1e-9, ...stages.map(row => Math.max(row.hours_kept + row.hours_dropped, row.hours_in)));
  const left = 110, width = 560, height = 26;
  const svg = drawn('svg', {width: left + width + 260, height: height * stages.length + 4, role: 'img', 'aria-label': 'Hours kept and dropped at every stage'});
  stages.forEach((stage, place) => {
    const y = height * place, scale = hours => width * hours / most;
    svg.append(drawn('text', {x: left - 8, y: y + 17, 'text-anchor': 'end'}, stage.stage));
    svg.append(titled(drawn('rect', {x: left, y: y + 3, width: scale(stage.hours_kept), height: height - 7, fill: 'var(--kept)'}),
      `${stage.stage}: ${number(stage.hours_kept, 4)} h kept, ${number(stage.kept)} rows`));
    let x = left + scale(stage.hours_kept);
    const reasons = data.funnel.filter(row => row.stage === stage.stage && row.reason !== null);
    // A row that several rules drop is in each of them: their bars share what the stage dropped.
    const sum = reasons.reduce((total, row) => total + row.hours_dropped, 0) || 1;
    reasons.forEach((row, index) => {
      const wide = scale(stage.hours_dropped * row.hours_dropped / sum);
      svg.append(titled(drawn('rect', {x, y: y + 3, width: wide, height: height - 7, fill: colour(index)}),
        `${row.reason}: ${number(row.hours_dropped, 4)} h, ${number(row.dropped)} rows; alone ${number(row.hours_only, 4)} h`));
      x += wide;
    });
    const lost = reasons.slice(0, 3).map(row => row.reason).join(', ') + (reasons.length > 3 ? ', …' : '');
    svg.append(drawn('text', {x: x + 8, y: y + 17}, `${number(stage.hours_kept)} h${lost ? '  − ' + lost : ''}`));
  });
  $('#funnel .plot').append(svg);
  const shown = data.funnel.filter(row => row.reason !== null);
  if (shown.length) {
    $('#funnel').append(element('details', {}, element('summary', {}, 'Every reason in numbers'), element('div', {class: 'scroll'}, table(
      [['stage', 'stage', true], ['reason', 'reason', true], ['rows', 'dropped'], ['hours', 'hours_dropped', false, 4], ['rows, it alone', 'dropped_only'], ['hours, it alone', 'hours_only', false, 4]],
      shown))));
  }
}

function signals() {
  const languages = [...new Set(data.signals.flatMap(signal => Object.keys(signal.series)))].sort();
  const choice = $('#language');
  choice.append(element('option', {value: ''}, 'all'), ...languages.map(name => element('option', {value: name}, name)));
  choice.addEventListener('change', () => draw(choice.value));
  const grid = $('#signals .grid');
  if (!data.signals.length) grid.append(element('p', {}, 'No filter has run yet.'));
  function draw(language) {
    grid.replaceChildren(...data.signals.map(signal => histogram(signal, language)));
  }
  draw('');
}

function histogram(signal, language) {
  const width = 260, height = 110, bottom = 18;
  const chosen = Object.entries(signal.series).filter(([name]) => !language || name === language).map(([, counts]) => counts);
  const sum = verdict => (chosen[0] ? chosen[0][verdict] : []).map((_, bin) => chosen.reduce((total, counts) => total + counts[verdict][bin], 0));
  const kept = sum('kept'), dropped = sum('dropped');
  const most = Math.max(1, ...kept.map((value, bin) => value + dropped[bin]));
  const svg = drawn('svg', {viewBox: `0 0 ${width} ${height + bottom}`, width: '100%', role: 'img', 'aria-label': `Histogram of ${signal.name}`});
  const wide = width / Math.max(1, kept.length);
  kept.forEach((value, bin) => {
    const low = signal.low + bin * (signal.high - signal.low) / kept.length;
    const what = `${number(low, 3)}: ${number(value)} kept, ${number(dropped[bin])} dropped`;
    const up = height * value / most, over = height * dropped[bin] / most;
    svg.append(titled(drawn('rect', {x: bin * wide, y: height - up, width: wide - .5, height: up, fill: 'var(--kept)'}), what));
    svg.append(titled(drawn('rect', {x: bin * wide, y: height - up - over, width: wide - .5, height: over, fill: 'var(--lost)'}), what));
  });
  for (const {value, rule} of signal.thresholds) {
    const x = width * (value - signal.low) / (signal.high - signal.low || 1);
    if (x < -1 || x > width + 1) continue;
    svg.append(titled(drawn('line', {x1: x, x2: x, y1: 0, y2: height, stroke: 'var(--mark)', 'stroke-width': 2, 'stroke-dasharray': '4 3'}), `${rule}: ${value}`));
  }
  svg.append(drawn('text', {x: 0, y: height + 14}, number(signal.low, 2)), drawn('text', {x: width, y: height + 14, 'text-anchor': 'end'}, number(signal.high, 2)));
  const lines = signal.thresholds.map(line => `${line.rule} ${number(line.value, 4)}`).join(', ');
  return element('figure', {}, svg, element('figcaption', {}, element('b', {}, signal.name), lines ? ` — ${lines}` : ''));
}

// -- tables ------------------------------------------------------------------------------------------------------------

function table(columns, rows) {
  const body = element('tbody');
  let by = null, down = true;
  const cell = (row, [, key, words, digits]) => {
    const value = row[key];
    return element('td', {class: words ? 'words' : null}, value === null || value === undefined ? '' : typeof value === 'number' ? number(value, digits ?? 3) : String(value));
  };
  const fill = () => {
    const sorted = by === null ? rows : [...rows].sort((a, b) => {
      const [x, y] = [a[by], b[by]];
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return (typeof x === 'number' ? x - y : String(x).localeCompare(String(y))) * (down ? -1 : 1);
    });
    body.replaceChildren(...sorted.map(row => element('tr', {}, ...columns.map(column => cell(row, column)))));
  };
  const heads = columns.map(([title, key, words]) => {
    const head = element('th', {scope: 'col', class: words ? 'words' : null, 'aria-sort': 'none'});
    head.append(element('button', {type: 'button', onclick: () => {
      down = by === key ? !down : !words;
      by = key;
      heads.forEach(other => other.setAttribute('aria-sort', 'none'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      fill();
    }}, title));
    return head;
  });
  fill();
  return element('table', {}, element('thead', {}, element('tr', {}, ...heads)), body);
}

function tables() {
  const rows = data.channels.map(row => ({...row, share: row.hours_kept / ((row.hours_kept + row.hours_dropped) || 1)}));
  $('#channels .scroll').append(table([['channel', 'channel', true], ['segments kept', 'segments'], ['hours kept', 'hours_kept'], ['hours dropped', 'hours_dropped'],
    ['share kept', 'share'], ['expected WER', 'expected_wer', false, 4], ['what took most', 'reason', true]], rows));
  if (data.rounds.length) {
    $('#rounds .scroll').append(table(Object.keys(data.rounds[0]).map(key => [key.replaceAll('_', ' '), key, typeof data.rounds[0][key] === 'string', 4]),
      data.rounds.map(row => ({...row, taken: row.taken ? 'yes' : 'no'}))));
    if (data.systems.length) {
      $('#rounds').append(element('h3', {}, 'Word error rates on speech that nothing was trained on'), element('div', {class: 'scroll'}, table(
        ['system', 'set', 'hours', 'words', 'wer', 'low', 'high', 'cer', 'gain', 'gain_low', 'gain_high'].map(key => [key.replaceAll('_', ' '), key, key === 'system' || key === 'set', 4]),
        data.systems)));
    }
  } else $('#rounds .scroll').append(element('p', {}, 'No round of refinement has run.'));
}

summary();
funnel();
signals();
tables();
