package main

import (
	"fmt"
	"image"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mitchellh/go-wordwrap"
	"github.com/moby/term"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"rsc.io/qr"

	"plexlink.dev/operator/api/v1alpha1"
)

// display draws views: repeatedly in the same place of a terminal, or line by line.
type display struct {
	out           io.Writer
	width, height int // of the terminal; 0: it is none that can be drawn on
	color         bool
	qr            string
	drawn         int             // how many lines were drawn last
	printed       map[string]bool // the lines that were printed plainly
}

func (p *plugin) display(code string) *display {
	d := &display{out: p.Out, color: printers.AllowsColorOutput(p.Out), qr: code, printed: map[string]bool{}}
	d.width, d.height = p.size()
	return d
}

// size returns the size of the terminal, or 0 if it cannot be drawn on.
func (p *plugin) size() (width, height int) {
	fd, terminal := term.GetFdInfo(p.Out)
	if size, err := term.GetWinsize(fd); terminal && err == nil && os.Getenv("TERM") != "dumb" {
		return int(size.Width), int(size.Height)
	}
	return 0, 0
}

// colored returns a text with or without colors, as the terminal supports.
func (d *display) colored(text string) string {
	if d.color {
		return text
	}
	return plain(text)
}

// plain removes escape sequences.
func plain(text string) string { return escape.ReplaceAllString(text, "") }

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// show draws a view in the best form that fits. Without colors a QR code suits dark terminals only, so it is drawn only on
// request.
func (d *display) show(v view) error {
	var code []string
	if pin := v.pin(); pin != nil && (d.qr == "always" || d.qr == "auto" && d.color) {
		code = qrLines(pin.LinkURL, d.color)
	}
	lines := v.screen(d.width, d.height, code)
	if lines == nil && d.qr == "auto" {
		lines = v.screen(d.width, d.height, nil)
	}
	if lines != nil {
		up := ""
		if d.drawn > 0 {
			up = fmt.Sprintf("\x1b[%dA", d.drawn)
		}
		d.drawn = len(lines)
		_, err := fmt.Fprintf(d.out, "%s\r\x1b[J%s\r\n", up, d.colored(strings.Join(lines, "\r\n")))
		return err
	}
	if d.drawn = 0; d.qr != "always" {
		code = nil
	}
	for _, line := range v.plainLines(code) {
		if !d.printed[line] {
			d.printed[line] = true
			fmt.Fprintln(d.out, line)
		}
	}
	return nil
}

// plainLines returns the view for files, pipes and narrow terminals. Each line is printed once, so none has a countdown.
func (v view) plainLines(code []string) []string {
	lines := []string{title(v.link)}
	if pin := v.pin(); pin != nil {
		until := pin.ExpirationTime.UTC().Format("15:04 UTC")
		lines = append(lines, fmt.Sprintf("Enter the PIN %s at %s before %s", pin.Code, pin.LinkURL, until))
		if len(code) > 0 {
			lines = append(lines, strings.Join(code, "\n"))
		}
	}
	for _, s := range v.steps() {
		if s.Result != pending || s.Title == accountTitle {
			lines = append(lines, plain(strings.Join(s.lines(1<<16), "\n")))
		}
	}
	return lines
}

// screen returns the view for a terminal, which is redrawn every second, or nil if it does not fit; the cursor needs a line.
func (v view) screen(width, height int, code []string) []string {
	var lines []string
	if pin := v.pin(); pin != nil {
		lines = append(v.invitation(pin, width, code), "", "  Ctrl-C stops watching and changes nothing.")
	} else {
		lines = append(lines, title(v.link), "")
		for _, s := range v.steps() {
			lines = append(lines, s.lines(width)...)
		}
	}
	for _, line := range lines {
		if len(lines) >= height || printedWidth(line) > width {
			return nil
		}
	}
	return lines
}

// invitation asks the user to enter the PIN, next to the QR code if there is one.
func (v view) invitation(pin *v1alpha1.PINStatus, width int, code []string) []string {
	left, how := "    ", "Or open"
	if len(code) > 0 {
		left, how = strings.Repeat(" ", printedWidth(code[0])+4), "Or scan the code, or open"
	}
	entry, _, _ := strings.Cut(pin.LinkURL, "/?")
	parts := []string{
		title(v.link), "", "Enter the PIN " + pin.Code + " at " + entry, "", strings.Join(largeLines(pin.Code), "\n"), "",
		timeLeft(pin.ExpirationTime.Sub(v.now)) + " left, then a new PIN is shown", "",
	}
	if r := ready(v.link); r.Reason != v1alpha1.ReasonAwaitingLink && r.Status != metav1.ConditionTrue {
		why, _, _ := strings.Cut(r.Message, "; ") // The rest asks the user to enter the PIN.
		parts = append(parts, why, "")
	}
	text := strings.Join(append(parts, how, pin.LinkURL), "\n")
	lines := strings.Split(wordwrap.WrapString(text, uint(max(width-len(left), 0))), "\n")
	above := max(len(code)-len(lines), 0) / 2
	lines = append(make([]string, above), append(lines, make([]string, max(len(code)-len(lines)-above, 0))...)...)
	for i := range lines {
		if i < len(code) {
			lines[i] = "  " + code[i] + "  " + lines[i]
		} else {
			lines[i] = left + lines[i]
		}
	}
	return lines
}

// printedWidth returns the number of columns of a text.
func printedWidth(text string) int { return utf8.RuneCountInString(plain(text)) }

// halfBlocks draws a picture of black and white pixels, two rows per line: characters are twice as high as wide.
func halfBlocks(width, height int, at func(x, y int) bool) []string {
	lines := make([]string, (height+1)/2)
	for i := range lines {
		for x := range width {
			block := " "
			switch upper, lower := at(x, 2*i), at(x, 2*i+1); {
			case upper && lower:
				block = "█"
			case upper:
				block = "▀"
			case lower:
				block = "▄"
			}
			lines[i] += block
		}
	}
	return lines
}

// qrLines draws a QR code, or returns nil if the text is too long for one. With color it is black on white in any terminal.
// Without, the terminal's text color is the light one, which is right for light text on a dark background.
func qrLines(text string, color bool) []string {
	const quietZone = 4 // The light border that the standard asks for, in modules.
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil
	}
	size := code.Size + 2*quietZone
	lines := halfBlocks(size, size, func(x, y int) bool { return code.Black(x-quietZone, y-quietZone) == color })
	for i := range lines {
		if color {
			lines[i] = "\x1b[38;5;16;48;5;231m" + lines[i] + "\x1b[0m"
		}
	}
	return lines
}

// largeLines draws a PIN large.
func largeLines(text string) []string {
	const height, baseline = 10, 9 // of capital letters, and the Q
	face := basicfont.Face7x13
	picture := image.NewAlpha(image.Rect(0, 0, len(text)*face.Advance, height))
	(&font.Drawer{Dst: picture, Src: image.Opaque, Face: face, Dot: fixed.P(0, baseline)}).DrawString(text)
	return halfBlocks(picture.Rect.Dx(), height, func(x, y int) bool { return picture.AlphaAt(x, y).A > 0 })
}
