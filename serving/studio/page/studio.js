// The page of toonify studio: passes the user's actions on to the picture, clip or webcam on the stage.

import { $, form, keptText, offerDownload, request, shares, showError, showStatus } from './page.js';
import { CodeFile, DrawnFace, Picture, RandomFace } from './pictures.js';
import { Camera, Clip } from './streams.js';

let stage = null;
let largest = Infinity; // bytes of a file
let live = new Map(); // the live models by their names

function setStage(next) {
  stage?.close();
  stage = next;
  const camera = next?.kind === 'camera';
  $('stage').dataset.kind = next?.kind ?? 'none';
  $('compare').classList.toggle('mirrored', camera);
  form.querySelector('option[value=aligned]').disabled = camera; // a webcam's frames are never aligned faces
  if (camera && form.elements.look.value === 'aligned') form.elements.look.value = 'paste';
  const drawn = next instanceof DrawnFace;
  $('sheet').hidden = next?.kind !== 'picture' || drawn;
  $('another').hidden = !(next instanceof RandomFace);
  form.elements.look.disabled = drawn; // its picture is the face alone
  showStatus('');
  offerDownload(null);
  arrange();
  Promise.resolve(next?.open()).catch(showError);
}

function openFile([file]) {
  if (!file) return;
  const mib = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const tooLarge = `${file.name} has ${mib(file.size)}; the studio takes ${mib(largest)} at most.`;
  if (file.size > largest) showStatus(tooLarge, true);
  else if (/\.np[yz]$/i.test(file.name)) setStage(new CodeFile(file));
  else setStage(file.type.startsWith('image/') ? new Picture(file) : new Clip(file));
}

function arrange() {
  const { look } = form.elements;
  const alone = look.value === 'crop' && !look.disabled; // the face alone cannot be laid over the original
  $('view').hidden = alone;
  $('compare').classList.toggle('beside', alone || $('view').ariaPressed === 'true');
}

function textOf(input) {
  if (input.id === 'r-swap') return swapName();
  return 'kept' in input.dataset ? keptText(input) : input.valueAsNumber.toFixed(2);
}

// Passes a change on; while a blend is dragged, more changes follow at once.
function changed(dragging = false) {
  for (const slider of form.querySelectorAll('.slider')) {
    slider.querySelector('output').value = textOf(slider.querySelector('input'));
  }
  for (const input of form.querySelectorAll('#edit :is(input, button):not([name=editing])')) {
    input.disabled = !form.elements.editing.checked;
  }
  arrange();
  if (form.checkValidity()) stage?.changed(dragging);
}

const resolutions = () => [...document.querySelectorAll('#shares input')].map((bar) => Number(bar.dataset.resolution));

// Names the position of the slider over r_swap, which counts the resolutions of the transferred model's layers.
function swapName() {
  const position = $('r-swap').valueAsNumber;
  const hard = shares()?.every((share, index) => share === Number(index < position));
  if (!hard) return 'own shares';
  return position ? `r_swap ${resolutions()[position - 1]}` : 'the base alone';
}

function swap() {
  const position = $('r-swap').valueAsNumber;
  document.querySelectorAll('#shares input').forEach((bar, index) => { bar.value = Number(index < position); });
}

// Moves the slider over r_swap to as many resolutions as the shares amount to.
function followShares() {
  $('r-swap').value = Math.round(shares()?.reduce((sum, share) => sum + share, 0) ?? 0);
}

function bar(resolution, share) {
  // Without a step, so that a model's own shares are kept as they are; those that are moved are rounded.
  const about = { ariaLabel: `Share at ${resolution}`, min: 0, max: 1, step: 'any' };
  const input = element('input', { type: 'range', ...about, defaultValue: share });
  input.dataset.resolution = resolution;
  return element('label', { className: 'bar' }, input, element('span', { textContent: resolution }));
}

// Shows the blends of the chosen model, if it is live, at its default.
function chooseModel() {
  const model = live.get(form.elements.model.value);
  $('blend').hidden = !model;
  $('shares').replaceChildren(...(model ? model.resolutions.map((r, index) => bar(r, model.shares[index])) : []));
  $('r-swap').max = model?.resolutions.length ?? 0;
  followShares();
  const names = model?.transferred.length > 1 ? model.transferred : []; // nothing to choose from one
  form.elements.transfer.replaceChildren(...names.map((name) => element('option', { textContent: name })));
  $('transferred').hidden = !names.length;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function choice({ name, blend, resolution, shares: own }, index) {
  const fixed = blend.replace('--r-swap', 'r_swap').replaceAll('--', '') || `${resolution} px`;
  const about = own.length ? 'every r_swap' : fixed;
  return element('label', { className: 'choice', title: `${resolution} px` },
    element('input', { type: 'radio', name: 'model', value: name ?? '', defaultChecked: index === 0 }),
    name ?? 'default',
    element('small', { textContent: about }));
}

// A label whose slider was not moved stays as it is in the face, if the studio can read it there. A direction begins at
// its rest, where it changes nothing.
function attribute(name, readable, range) {
  const { low, high, rest } = range ?? { low: 0, high: 1, rest: null };
  const keeps = readable && rest === null;
  // A decimal, so that the rest is one of the steps.
  const fine = 10 ** Math.floor(Math.log10(high - low)) / 100;
  const [step, start] = rest === null ? [0.05, keeps ? 0.5 : 0] : [fine, rest];
  const slider = element('input', { type: 'range', min: low, max: high, step, defaultValue: start });
  slider.dataset.name = name;
  if (keeps) {
    slider.dataset.kept = '';
    slider.addEventListener('input', () => { delete slider.dataset.kept; });
    form.addEventListener('reset', () => { slider.dataset.kept = ''; });
  }
  return element('label', { className: 'slider' }, element('span', { textContent: name }), slider, element('output'));
}

$('file').onchange = ({ target }) => { openFile(target.files); target.value = ''; };
$('webcam').onclick = () => setStage(new Camera());
$('random').onclick = () => setStage(new RandomFace());
$('another').onclick = () => stage.another();
$('close').onclick = () => setStage(null);
$('start').onclick = () => stage.start();
$('cancel').onclick = () => stage.cancel();
$('play').onclick = () => stage.play();
$('seek').oninput = ({ target }) => stage.seek(target.valueAsNumber);
$('split').oninput = ({ target }) => $('compare').style.setProperty('--split', `${target.value}%`);
$('view').onclick = ({ target }) => { target.ariaPressed = String(target.ariaPressed !== 'true'); arrange(); };
$('dice').onclick = () => { form.elements.seed.value = Math.floor(Math.random() * 10000); changed(); };
$('models').oninput = chooseModel;
$('r-swap').oninput = swap;
$('shares').oninput = ({ target }) => { target.value = Math.round(20 * target.valueAsNumber) / 20; followShares(); };
$('sheet').onclick = () => stage.sheet().catch(showError);
form.oninput = ({ target }) => changed(target.closest('#blend') !== null);
form.onchange = ({ target }) => { if (target.closest('#blend')) changed(); };
form.onreset = () => setTimeout(() => { chooseModel(); changed(); }); // after the controls have been reset
form.onsubmit = (event) => event.preventDefault();

addEventListener('dragover', (event) => { event.preventDefault(); $('stage').classList.add('dropping'); });
addEventListener('dragleave', ({ relatedTarget }) => relatedTarget || $('stage').classList.remove('dropping'));
addEventListener('drop', (event) => {
  event.preventDefault();
  $('stage').classList.remove('dropping');
  openFile(event.dataTransfer.files);
});
addEventListener('paste', ({ clipboardData }) => openFile(clipboardData.files));
addEventListener('pagehide', () => setStage(null));

request('/api/models').then((answer) => answer.json()).then(({ models, attributes, keeps, ranges, max_upload }) => {
  largest = max_upload;
  $('models').append(...models.map(choice));
  live = new Map(models.filter((model) => model.shares.length).map((model) => [model.name ?? '', model]));
  $('models').hidden = models.length === 1 && live.size === 1;
  $('random').hidden = !models.some(({ samples }) => samples);
  chooseModel();
  $('attributes').append(...attributes.map((name) => attribute(name, keeps, ranges[name])));
  $('edit').hidden = !attributes.length;
  changed();
}).catch(showError);
