// Draws an asciinema recording as an animated SVG: svg.mjs RECORDING PICTURE, in the folder whose node_modules has svg-term.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { render } = createRequire(process.cwd() + '/')('svg-term')
const [recording, picture] = process.argv.slice(2)

// A program writes a screen at once, but a recording may have it in pieces.
const together = 0.05 // seconds
const [header, ...events] = readFileSync(recording, 'utf8').trim().split('\n').map((line) => JSON.parse(line))
const merged = []
for (const [time, kind, data] of events) {
	const last = merged.at(-1)
	if (last && time - last[0] < together) last[2] += data
	else merged.push([time, kind, data])
}

// Half blocks are drawn as shapes: in most fonts there are gaps between those of two lines, which scanners do not read.
// Each reaches a little into the next line, and so do backgrounds, which would else leave a seam.
const size = 1.67 // of the font in svg-term's theme
const [width, half, overlap] = [0.6 * size, 0.65 * size, 0.05 * size]
const crisp = 'shape-rendering="crispEdges"'
const round = (x) => +x.toFixed(3)
const shapes = (x, baseline, name, text) => {
	const path = [0, 1].map((row) =>
		[...text.matchAll(row ? /[▄█]+/g : /[▀█]+/g)].map(({ index, 0: run }) => {
			const [left, top, across] = [+x + index * width, baseline - size + row * half, run.length * width].map(round)
			return `M${left} ${top}h${across}v${round(half + row * overlap)}h${-across}z`
		}))
	return `<path class="${name}" ${crisp} d="${path.flat().join('')}"/>`
}
const svg = render([header, ...merged].map((line) => JSON.stringify(line)).join('\n'), { window: true, cursor: false })
writeFileSync(picture, svg
	.replace(/<text x="([\d.]+)" y="([\d.]+)" class="(\w+)">([ ▀▄█]*)<\/text>/g, (_, ...word) => shapes(...word))
	.replace(/<rect height="([\d.]+)"/g, (_, height) => `<rect ${crisp} height="${+height + overlap}"`)
	.replace(/\d+\.\d{4,}/g, (number) => round(+number)))
