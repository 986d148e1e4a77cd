// What the page's modules share: parts of the page, its settings, and requests to the studio.

export const $ = (id) => document.getElementById(id);
export const form = $('controls');

export function showStatus(text, bad = false) {
  $('status').textContent = text;
  $('status').classList.toggle('bad', bad);
}

// The transferred model's share at each resolution, lowest first; null for a model whose blend is fixed.
export function shares() {
  const bars = [...document.querySelectorAll('#shares input')];
  return bars.length ? bars.map((bar) => bar.valueAsNumber) : null;
}

export function showError(error) {
  if (error.name !== 'AbortError') showStatus(error.message, true);
}

// The header tells the studio that its own page asks; pages of other sites cannot send it.
const PROOF = { 'X-Requested-With': 'toonify-studio' };

export async function request(path, options) {
  const answer = await fetch(path, { ...options, headers: PROOF }).catch((error) => {
    if (error.name === 'AbortError') throw error;
    throw new Error('The studio does not answer; check that its command is still running.');
  });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const message = body.error ?? `The studio answers ${answer.status} ${answer.statusText}.`;
  throw Object.assign(new Error(message), { status: answer.status });
}

// Offers a result for download: a blob, a URL, or null for none.
export function offerDownload(result, name = '') {
  URL.revokeObjectURL($('download').href);
  $('download').hidden = !result;
  $('compare').classList.toggle('alone', !result);
  if (!result) return;
  $('download').href = result instanceof Blob ? URL.createObjectURL(result) : result;
  $('download').download = name;
}

// The settings as the studio expects them; ``more`` replaces some.
export function controls(more = {}) {
  const { model, editing, seed, strength, psi, look, transfer } = form.elements;
  const sliders = [...form.querySelectorAll('#attributes input:not([data-kept])')];
  return JSON.stringify({
    model: model.value || null,
    attributes: editing.checked ? Object.fromEntries(sliders.map((s) => [s.dataset.name, s.valueAsNumber])) : null,
    seed: seed.valueAsNumber,
    strength: strength.valueAsNumber,
    psi: psi.valueAsNumber,
    blend: shares(),
    transfer: transfer.value || null,
    look: look.value,
    ...more,
  });
}

// Shows on a slider which value of its attribute was read from the face, or that none was.
export function showRead(slider, value) {
  slider.dataset.read = value?.toFixed(2) ?? '';
  slider.defaultValue = value ?? 0.5; // to which a reset moves it
  if (!('kept' in slider.dataset)) return;
  slider.value = slider.defaultValue;
  slider.parentElement.querySelector('output').value = keptText(slider);
}

export const keptText = ({ dataset }) => (dataset.read ? `${dataset.read}, kept` : 'kept');

export const send = (path, file, signal, more) =>
  request(`${path}?controls=${encodeURIComponent(controls(more))}`, { method: 'POST', body: file, signal });

export const toonName = (file, suffix) => `${file.name.replace(/\.\w+$/, '')}_toon${suffix}`;

export function setAspectRatio(width, height) {
  if (width && height) $('compare').style.setProperty('--ratio', width / height);
}

export function setSource(media, source) {
  URL.revokeObjectURL(media.src);
  if (source) media.src = source instanceof Blob ? URL.createObjectURL(source) : source;
  else media.removeAttribute('src');
}

export async function drawPicture(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = $('after-picture');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
}
