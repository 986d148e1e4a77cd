// The page of toonify studio: passes the user's actions on to the picture, clip or webcam on the stage.

import { $, Camera, Clip, Picture, RandomFace, request, showError, form, keptText, offerDownload, showStatus } from './stages.js';

let stage = null;
let largest = Infinity; // bytes of a file

function setStage(next) {
  stage?.close();
  stage = next;
  const camera = next?.kind === 'camera';
  $('stage').dataset.kind = next?.kind ?? 'none';
  $('compare').classList.toggle('mirrored', camera);
  form.querySelector('option[value=aligned]').disabled = camera; // a webcam's frames are never aligned faces
  if (camera && form.elements.look.value === 'aligned') form.elements.look.value = 'paste';
  const random = next instanceof RandomFace;
  $('another').hidden = !random;
  form.elements.look.disabled = random; // its picture is the face alone
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
  else setStage(file.type.startsWith('image/') ? new Picture(file) : new Clip(file));
}

function arrange() {
  const { look } = form.elements;
  const alone = look.value === 'crop' && !look.disabled; // the face alone cannot be laid over the original
  $('view').hidden = alone;
  $('compare').classList.toggle('beside', alone || $('view').ariaPressed === 'true');
}

function changed() {
  for (const slider of form.querySelectorAll('.slider')) {
    const input = slider.querySelector('input');
    slider.querySelector('output').value = 'kept' in input.dataset ? keptText(input) : input.valueAsNumber.toFixed(2);
  }
  for (const input of form.querySelectorAll('#edit :is(input, button):not([name=editing])')) {
    input.disabled = !form.elements.editing.checked;
  }
  arrange();
  if (form.checkValidity()) stage?.changed();
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function choice({ name, blend, resolution }, index) {
  const about = blend.replace('--r-swap', 'r_swap').replaceAll('--', '') || `${resolution} px`;
  return element('label', { className: 'choice', title: `${resolution} px` },
    element('input', { type: 'radio', name: 'model', value: name ?? '', defaultChecked: index === 0 }),
    name ?? 'default',
    element('small', { textContent: about }));
}

// An attribute whose slider was not moved stays as it is in the face, if the studio can read it there.
function attribute(name, keeps) {
  const slider = element('input', { type: 'range', min: 0, max: 1, step: 0.05, defaultValue: keeps ? 0.5 : 0 });
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
form.oninput = changed;
form.onreset = () => setTimeout(changed); // after the controls have been reset
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

request('/api/models').then((answer) => answer.json()).then(({ models, attributes, keeps, max_upload }) => {
  largest = max_upload;
  $('models').append(...models.map(choice));
  $('random').hidden = !models.some(({ samples }) => samples);
  $('attributes').append(...attributes.map((name) => attribute(name, keeps)));
  $('edit').hidden = !attributes.length;
  changed();
}).catch(showError);
