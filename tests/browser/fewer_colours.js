// A picture as a PNG with at most 128 colours: a third of the bytes, and hardly to be told apart for pages like ours.
// Takes and gives base64. Runs in any page.
async (text) => {
  const MOST = 128;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(image, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);

  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const distance = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  const palette = [];
  // The most frequent colours, but none beside one that is there already: shades of letters would take all places.
  const byCount = [...counts].sort((a, b) => b[1] - a[1]).map(([pixel]) => parts(pixel));
  for (const apart of [200, 40, 0]) {
    for (const colour of byCount) {
      if (palette.length < MOST && palette.every((one) => distance(one, colour) > apart)) palette.push(colour);
    }
  }
  const nearest = new Map();
  for (const pixel of counts.keys()) {
    const colour = parts(pixel);
    let best = 0;
    for (let place = 1; place < palette.length; place++) {
      if (distance(palette[place], colour) < distance(palette[best], colour)) best = place;
    }
    nearest.set(pixel, best);
  }
  const rows = new Uint8Array((width + 1) * height); // each begins with its filter, 0: none
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = nearest.get(pixels[y * width + x]);
  }
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));

  const crc = (bytes) => {
    let sum = ~0;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return ~sum >>> 0;
  };
  const number = (value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const chunk = (name, bytes) => {
    const named = Uint8Array.from([...[...name].map((letter) => letter.charCodeAt(0)), ...bytes]);
    return [...number(bytes.length), ...named, ...number(crc(named))];
  };
  const file = Uint8Array.from([
    ...[137, 80, 78, 71, 13, 10, 26, 10],
    ...chunk("IHDR", [...number(width), ...number(height), 8, 3, 0, 0, 0]),
    ...chunk("PLTE", palette.flat()),
    ...chunk("IDAT", new Uint8Array(await packed.arrayBuffer())),
    ...chunk("IEND", []),
  ]);
  return btoa(Array.from(file, (byte) => String.fromCharCode(byte)).join(""));
}
