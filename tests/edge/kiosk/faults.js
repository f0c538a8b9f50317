// What a person would call broken: beyond the screen, cut, overlapping, too small to touch, no picture.
() => {
  const faults = [];
  const root = document.documentElement;
  if (root.scrollWidth > 800 || root.scrollHeight > 480) faults.push(`page ${root.scrollWidth}x${root.scrollHeight}`);
  const visible = (e) => e.offsetParent !== null && !e.closest('.unseen');
  const name = (e) => `${e.tagName}.${e.className} "${(e.textContent || '').trim().slice(0, 30)}"`;
  for (const e of document.querySelectorAll('#kiosk *')) {
    if (!visible(e) || e.closest('svg') ) continue;
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.left < -0.5 || box.top < -0.5 || box.right > 800.5 || box.bottom > 480.5) faults.push(`outside: ${name(e)}`);
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && getComputedStyle(e).display !== 'inline')
      faults.push(`cut across: ${name(e)} ${e.scrollWidth}>${e.clientWidth}`);
    if (e.scrollHeight > e.clientHeight + 6 && e.clientHeight && getComputedStyle(e).display !== 'inline')
      faults.push(`cut below: ${name(e)} ${e.scrollHeight}>${e.clientHeight}`);
    if (e.tagName === 'BUTTON' && (box.height < 63.5 || box.width < 63.5)) faults.push(`small: ${name(e)} ${box.width}x${box.height}`);
    if (e.tagName === 'IMG' && !e.naturalWidth) faults.push(`no picture: ${e.src}`);
  }
  const parts = [...document.querySelectorAll('.stage > section > *, .weigh-side > *, .actions > *, .receipt-words > *, .idle-words > *, .lead > *')]
    .filter((e) => visible(e) && !e.closest('.pad') && !e.classList.contains('pad'));
  for (const a of parts) for (const b of parts) {
    if (a === b || a.contains(b) || b.contains(a) || a.compareDocumentPosition(b) & 2) continue;
    const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1)
      faults.push(`overlap: ${name(a)} / ${name(b)}`);
  }
  return faults;
}
