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
  } else $('#rounds .scroll').append(element('p', {}, 'No round of refinement has run.'));
}

// -- the listening desk ------------------------------------------------------------------------------------------------

const desk = {shown: [], at: 0, audio: null, frame: 0, marks: {}};
const memory = `silver:${location.pathname}`;
try { desk.marks = JSON.parse(localStorage.getItem(memory)) || {}; } catch { /* a browser without storage forgets with the tab */ }
const remember = () => { try { localStorage.setItem(memory, JSON.stringify(desk.marks)); } catch { /* as above */ } };
const markOf = clip => desk.marks[clip.id] || {verdict: '', corrected: clip.text, note: ''};
const isMarked = clip => { const mark = markOf(clip); return Boolean(mark.verdict || mark.note || mark.corrected !== clip.text); };
const shortMark = clip => { const mark = markOf(clip); return mark.verdict || (mark.corrected !== clip.text ? 'corrected' : mark.note ? 'note' : ''); };

function filters() {
  const form = $('#filters');
  const options = (name, values, all) => $(`[name=${name}]`, form).append(element('option', {value: ''}, all), ...values);
  const count = {};
  for (const clip of data.clips) for (const reason of clip.reasons) count[reason] = (count[reason] || 0) + 1;
  const reasons = Object.keys(count).sort((a, b) => (b === 'kept') - (a === 'kept') || a.localeCompare(b));
  options('reason', reasons.map(name => element('option', {value: name}, `${name} (${count[name]})`)), 'all');
  const distinct = key => [...new Set(data.clips.map(clip => clip[key]).filter(Boolean))].sort();
  for (const key of ['language', 'channel']) options(key, distinct(key).map(name => element('option', {value: name}, name)), 'all');
  form.addEventListener('submit', event => event.preventDefault());
  form.elements.words.addEventListener('input', list);
  form.addEventListener('change', event => { if (event.target.tagName === 'SELECT') list(); });
  list();
}

function list() {
  const form = $('#filters'), value = name => form.elements[name].value;
  const words = value('words').toLowerCase();
  desk.shown = data.clips.filter(clip =>
    (!value('reason') || clip.reasons.includes(value('reason'))) && (!value('language') || clip.language === value('language')) &&
    (!value('channel') || clip.channel === value('channel')) && (!value('marked') || isMarked(clip) === (value('marked') === 'yes')) &&
    (!words || `${clip.shown} ${clip.text} ${clip.title} ${clip.id}`.toLowerCase().includes(words)));
  $('#count').textContent = `${desk.shown.length} of ${data.clips.length} segments, ${data.clips.filter(isMarked).length} marked`;
  $('#list').replaceChildren(...desk.shown.map((clip, place) => element('li', {}, entry(clip, place))));
  open(0, false);
}

function entry(clip, place) {
  return element('button', {type: 'button', 'data-mark': shortMark(clip) || null, onclick: () => open(place, false)},
    element('span', {dir: 'auto'}, clip.shown || '(no text)'),
    element('small', {}, `${clip.language || ''} ${clip.reasons.join(', ')} ${number(clip.duration, 1)} s`));
}

function open(place, play) {
  stop();
  const clip = desk.shown[place];
  if (!clip) { $('#card').replaceChildren(element('p', {}, data.clips.length ? 'No segment is like that.' : 'There is no segment to listen to.')); return; }
  desk.at = place;
  [...$('#list').querySelectorAll('button')].forEach((button, index) => {
    if (index === place) { button.setAttribute('aria-current', 'true'); button.scrollIntoView({block: 'nearest'}); } else button.removeAttribute('aria-current');
  });
  $('#card').replaceChildren(...card(clip));
  if (play && desk.audio) desk.audio.play().catch(() => {});
}

function link(uri) {
  return /^https?:\/\//i.test(uri || '') ? element('a', {href: uri, rel: 'noopener noreferrer', target: '_blank'}, uri) : document.createTextNode(uri || '');
}

function card(clip) {
  const kept = clip.reasons[0] === 'kept';
  const parts = [
    element('h3', {}, clip.title || clip.id),
    element('p', {}, element('small', {}, `${clip.id} — ${[clip.channel, clip.speaker, clip.language, clip.licence].filter(Boolean).join(', ')} — at ${clock(clip.start)} of `, link(clip.source))),
    element('p', {class: `verdict ${kept ? 'kept' : 'lost'}`}, kept ? `kept${clip.shard ? ', ' + clip.shard : ''}` : `dropped by ${clip.stage}: ${clip.reasons.join(', ')}`),
  ];
  if (clip.detail) parts.push(element('p', {}, element('small', {}, clip.detail)));
  desk.audio = null;
  if (clip.audio) parts.push(...player(clip));
  else parts.push(element('p', {}, `No audio: ${clip.why}`));
  parts.push(spoken(clip));
  for (const label of clip.labels) {
    parts.push(element('p', {dir: 'auto'}, element('small', {}, `${label.labeller}: `),
      ...label.runs.flatMap(([change, text]) => [change === 'same' ? text : element(change === 'gone' ? 'del' : 'ins', {class: change}, text), ' '])));
  }
  parts.push(...marks(clip));
  if (clip.signals.length) parts.push(element('details', {open: true}, element('summary', {}, 'Signals against thresholds'), element('div', {class: 'scroll'}, measured(clip))));
  return parts;
}

function player(clip) {
  const audio = element('audio', {controls: true, preload: 'auto', src: clip.audio, 'aria-label': 'the segment'});
  const wave = drawn('svg', {class: 'wave', viewBox: `0 0 ${clip.peaks.length} 100`, preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Waveform; the words below seek'});
  clip.peaks.forEach((peak, place) => wave.append(drawn('rect', {x: place, y: 50 - peak / 2, width: .8, height: Math.max(1, peak)})));
  wave.addEventListener('click', event => {
    const box = wave.getBoundingClientRect();
    if (audio.duration) audio.currentTime = audio.duration * (event.clientX - box.left) / box.width;
  });
  const follow = () => {
    cancelAnimationFrame(desk.frame);  // of the frame before, if an event came between: one loop, not one more an event
    const now = audio.currentTime, share = now / (audio.duration || clip.duration || 1);
    [...wave.children].forEach((bar, place) => bar.classList.toggle('played', place / clip.peaks.length < share));
    for (const word of document.querySelectorAll('.spoken button')) {
      word.classList.toggle('now', now >= Number(word.dataset.start) && now < Number(word.dataset.end));
    }
    desk.frame = audio.paused ? 0 : requestAnimationFrame(follow);
  };
  audio.addEventListener('play', follow);
  audio.addEventListener('seeked', follow);
  audio.addEventListener('timeupdate', follow);
  desk.audio = audio;
  return [wave, audio];
}

function stop() {
  cancelAnimationFrame(desk.frame);
  if (desk.audio) desk.audio.pause();
}

function spoken(clip) {
  const line = element('p', {class: 'spoken', dir: 'auto', lang: clip.language});
  const timed = clip.words.filter(([, start]) => start !== null);
  if (!timed.length) { line.append(clip.shown); return line; }
  for (const [word, start, end, score] of clip.words) {
    line.append(element('button', {type: 'button', class: score !== null && score < .5 ? 'unsure' : null, 'data-start': start ?? -1, 'data-end': end ?? -1,
      title: score === null ? null : `${number(start, 2)} s, score ${number(score, 3)}`,
      onclick: () => { if (desk.audio && start !== null) { desk.audio.currentTime = start; desk.audio.play().catch(() => {}); } }}, word), ' ');
  }
  return line;
}

function marks(clip) {
  const mark = markOf(clip);
  const button = (verdict, text) => element('button', {type: 'button', value: verdict, 'aria-pressed': String(mark.verdict === verdict), onclick: () => judge(verdict)}, text);
  const text = element('textarea', {id: 'corrected', rows: 2, dir: 'auto', oninput: event => change({corrected: event.target.value})});
  text.value = mark.corrected;
  const note = element('input', {id: 'note', size: 40, oninput: event => change({note: event.target.value})});
  note.value = mark.note;
  return [
    element('div', {class: 'marks', role: 'group', 'aria-label': 'Is the label right?'}, button('right', 'Right'),
      element('button', {type: 'button', value: 'wrong', onclick: () => text.focus()}, 'Wrong: write what is said'), button('unusable', 'Unusable')),
    element('label', {class: 'wide'}, 'What is said (the label, normalised) ', text),
    element('label', {class: 'wide'}, 'Note ', note),
  ];
}

function change(what) {
  const clip = desk.shown[desk.at];
  if (!clip) return;
  desk.marks[clip.id] = {...markOf(clip), ...what};
  if (!isMarked(clip)) delete desk.marks[clip.id];
  remember();
  const button = $('#list').querySelectorAll('button')[desk.at];
  if (shortMark(clip)) button.setAttribute('data-mark', shortMark(clip)); else button.removeAttribute('data-mark');
  $('#count').textContent = `${desk.shown.length} of ${data.clips.length} segments, ${data.clips.filter(isMarked).length} marked`;
}

function judge(verdict) {
  const clip = desk.shown[desk.at];
  if (!clip) return;
  change({verdict: markOf(clip).verdict === verdict ? '' : verdict});
  for (const button of $('#card .marks').querySelectorAll('[aria-pressed]')) button.setAttribute('aria-pressed', String(markOf(clip).verdict === button.value));
}

function measured(clip) {
  const line = ({name, value, rules}) => element('tr', {}, element('td', {}, name), element('td', {}, typeof value === 'number' ? number(value, 4) : String(value)),
    element('td', {class: 'words'}, ...rules.flatMap(rule => [element('span', {class: rule.passed === false ? 'failed' : rule.passed ? 'passed' : null},
      `${rule.passed === false ? '✗' : rule.passed ? '✓' : '·'} ${rule.name}: ${rule.is}`), element('br')])));
  return element('table', {}, element('thead', {}, element('tr', {}, element('th', {scope: 'col'}, 'signal'), element('th', {scope: 'col'}, 'value'), element('th', {scope: 'col', class: 'words'}, 'rules that read it'))),
    element('tbody', {}, ...clip.signals.map(line)));
}

// The sheet that `silver audit --read` takes; no cell is ever a formula to a spreadsheet.
const safe = text => /^[=+\-@\t\r']/.test(text) ? `'${text}` : text;
const cell = text => `"${safe(String(text ?? '')).replaceAll('"', '""')}"`;
function sheet() {
  const lines = desk.shown.filter(isMarked).map(clip => {
    const mark = markOf(clip);
    const values = {segment_id: clip.id, language: clip.language, channel: clip.channel, text: clip.text,
      corrected: mark.corrected === clip.text ? '' : mark.corrected, verdict: mark.verdict, note: mark.note};
    return data.sheet.map(name => cell(values[name])).join(',');
  });
  return [data.sheet.join(','), ...lines].join('\n') + '\n';
}
function save() {
  const url = URL.createObjectURL(new Blob([sheet()], {type: 'text/csv'}));
  const anchor = element('a', {href: url, download: 'marks.csv'});
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function keys(event) {
  const writing = ['TEXTAREA', 'INPUT', 'SELECT'].includes(event.target.tagName);
  if (writing) { if (event.key === 'Escape') { event.target.blur(); $('#desk').focus({preventScroll: true}); } return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    n: () => open(Math.min(desk.at + 1, desk.shown.length - 1), false), b: () => open(Math.max(desk.at - 1, 0), false),
    p: () => desk.audio && (desk.audio.paused ? desk.audio.play().catch(() => {}) : desk.audio.pause()),
    r: () => judge('right'), u: () => judge('unusable'), w: () => $('#corrected')?.focus(), e: () => $('#note')?.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}

summary();
funnel();
signals();
tables();
filters();
$('#save').addEventListener('click', save);
document.addEventListener('keydown', keys);
