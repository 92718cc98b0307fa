"""The sheet as a page: each segment with its audio, its text to correct, and two verdicts. One file, no network; the sheet comes out of it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import soundfile

from manifests.store import Store
from pipeline.contract import SilverError
from stages.audio import mp3, mp3_uri, read_audio
from workflows.audit.sheet import COLUMNS, guard

LARGEST = 30_000_000
"""Bytes of a page at most: a browser keeps all of it in memory."""

_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.4 sans-serif;max-width:60em;margin:1em auto;padding:0 1em}
article{border:1px solid #8888;border-radius:6px;padding:.6em;margin:.6em 0}article:focus-within{outline:2px solid #28f}
textarea{width:100%;font:inherit;box-sizing:border-box}article[data-verdict=right]{border-left:8px solid #2a4}
article[data-verdict=unusable]{border-left:8px solid #c33}article.changed{border-left:8px solid #28f}header{position:sticky;top:0;background:Canvas;padding:.4em 0}
"""
_SCRIPT = """
const all=[...document.querySelectorAll('article')],done=document.getElementById('done');
const text=a=>a.querySelector('textarea').value.trim(),label=a=>a.dataset.text.trim();
function show(a){a.classList.toggle('changed',text(a)!==label(a));
 done.textContent=all.filter(x=>x.dataset.verdict||text(x)!==label(x)).length}
function mark(a,v){a.dataset.verdict=a.dataset.verdict===v?'':v;show(a)}
function go(a,by){const to=all[all.indexOf(a)+by];if(to){to.querySelector('audio').focus();to.scrollIntoView({block:'center'})}}
for(const a of all){a.querySelector('textarea').addEventListener('input',()=>show(a));
 for(const b of a.querySelectorAll('button'))b.addEventListener('click',()=>mark(a,b.value));
 a.addEventListener('keydown',e=>{if(e.target.tagName==='TEXTAREA'||e.ctrlKey||e.metaKey||e.altKey)return;const p=a.querySelector('audio');
  if(e.key==='r')mark(a,'right');else if(e.key==='u')mark(a,'unusable');else if(e.key==='n')go(a,1);else if(e.key==='b')go(a,-1);
  else if(e.key==='p'){p.paused?p.play():p.pause()}else return;e.preventDefault()})}
const safe=s=>/^[=+\\-@\\t\\r']/.test(s)?"'"+s:s,cell=s=>'"'+safe(s).replace(/"/g,'""')+'"';
// What was judged outlives the tab; the sheet is still to be saved.
const area=a=>a.querySelector('textarea');
function remember(){try{localStorage.setItem(location.pathname,JSON.stringify(all.map(a=>[a.dataset.id,a.dataset.verdict,area(a).value])))}catch{}}
try{const known=new Map(JSON.parse(localStorage.getItem(location.pathname)||'[]').map(([id,...rest])=>[id,rest]));
 for(const a of all)if(known.has(a.dataset.id)){[a.dataset.verdict,area(a).value]=known.get(a.dataset.id);show(a)}}catch{}
for(const what of ['input','click','keydown'])document.addEventListener(what,remember);
document.getElementById('save').addEventListener('click',()=>{const rows=[COLUMNS.join(',')];
 for(const a of all){const changed=text(a)!==label(a);
  rows.push([a.dataset.id,a.dataset.language,a.dataset.channel,a.dataset.text,changed?text(a):'',a.dataset.verdict].map(cell).join(','))}
 const l=document.createElement('a');l.href=URL.createObjectURL(new Blob([rows.join('\\n')+'\\n'],{type:'text/csv'}));l.download='sheet.csv';l.click()});
"""


def page(rows: Iterable[Mapping[str, Any]], store: Store) -> str:
    """The page. Segments after `LARGEST` bytes come without audio and say so: the sheet has them all the same."""
    articles, used = [], 0
    for number, row in enumerate(rows, 1):
        audio = _audio(row, store) if used < LARGEST else ""
        used += len(audio)
        articles.append(_article(number, row, audio))
    keys = "r right &middot; u unusable &middot; p play &middot; n next &middot; b back (outside of the text)"
    columns = "const COLUMNS=" + str(list(COLUMNS)) + ";"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Audit of labels</title><style>{_STYLE}</style>'
        f'<header><b><span id="done">0</span> of {len(articles)} judged</b> <button id="save">Save the sheet (CSV)</button> <small>{keys}</small></header>'
        "<p>Correct the text to what is said, word by word, or press Right. Unusable: nobody could write it down, or it is cut through words.</p>"
        f"{''.join(articles)}<script>{columns}{_SCRIPT}</script></html>\n"
    )


def _article(number: int, row: Mapping[str, Any], audio: str) -> str:
    text = str(row["text"])
    data = " ".join(
        f'data-{name}="{escape(guard(value) if name == "id" else value, quote=True)}"'
        for name, value in (
            ("id", str(row["segment_id"])),
            ("language", str(row.get("language") or "")),
            ("channel", str(row.get("channel") or "")),
            ("text", text),
        )
    )
    player = (
        f'<audio controls preload="none" src="{audio}"></audio>' if audio else "<audio controls></audio> <i>no audio: the page is full</i>"
    )
    return (
        f'<article {data} data-verdict="" tabindex="-1"><small>{number}. {escape(str(row.get("language") or ""))} '
        f"{escape(str(row.get('channel') or ''))}</small><br>{player}"
        f'<textarea rows="2" dir="auto" aria-label="text of segment {number}">{escape(text)}</textarea>'
        '<button value="right">Right</button> <button value="unusable">Unusable</button></article>'
    )


def _audio(row: Mapping[str, Any], store: Store) -> str:
    try:
        samples = read_audio(store, dict(row))
    except (FileNotFoundError, soundfile.LibsndfileError) as error:
        raise SilverError(
            f"{store.uri(row['audio_path'])}, the audio of {row['segment_id']}, cannot be read ({error}); run the recipe again from `decode`"
        ) from error
    return mp3_uri(mp3(samples))
