package main

import (
	"flag"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hinshun/vt10x"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden screens anew")

// theme is the colors that a terminal gives to text without a color of its own.
type theme struct{ text, ground color.Gray }

var (
	dark  = theme{color.Gray{Y: 200}, color.Gray{Y: 20}}
	light = theme{color.Gray{Y: 30}, color.Gray{Y: 250}}
)

const (
	linkURL = "https://plex.tv/link/?pin=7KQX"
	// simulatedURL has the length of those of make demo.
	simulatedURL = "http://127.0.0.1:37957/link/?pin=7KQX"
)

func TestScreensFit80x24(t *testing.T) {
	t.Parallel()
	other := awaiting(linkURL)
	other.Status.PIN.Code, other.Status.PIN.LinkURL = "9ZRT", "https://plex.tv/link/?pin=9ZRT"
	wrong := awaiting(linkURL)
	set(wrong, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWrongAccount,
		"mallory entered the PIN, but spec.account asks for alice; Enter 7KQX at https://plex.tv/link before 05:39 UTC")
	for name, c := range map[string]struct {
		links   []*v1alpha1.PlexLink // shown one after the other
		qr      string
		noColor bool
		url     string // what a scanner reads; "": nothing
	}{
		"awaiting":         {links: []*v1alpha1.PlexLink{awaiting(linkURL)}, qr: "auto", url: linkURL},
		"awaiting-demo":    {links: []*v1alpha1.PlexLink{awaiting(simulatedURL)}, qr: "auto", url: simulatedURL},
		"awaiting-no-code": {links: []*v1alpha1.PlexLink{awaiting(linkURL)}, qr: "never"},
		"no-color":         {links: []*v1alpha1.PlexLink{awaiting(linkURL)}, qr: "auto", noColor: true},
		"pin-replaced":     {links: []*v1alpha1.PlexLink{awaiting(linkURL), other}, qr: "auto", url: other.Status.PIN.LinkURL},
		"wrong-account":    {links: []*v1alpha1.PlexLink{wrong}, qr: "auto", url: linkURL},
		"linked":           {links: []*v1alpha1.PlexLink{awaiting(linkURL), linked()}, qr: "auto"},
		"following":        {links: []*v1alpha1.PlexLink{following()}, qr: "auto"},
		"unreachable":      {links: []*v1alpha1.PlexLink{awaiting(linkURL), unreachable()}, qr: "auto"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal := vt10x.New(vt10x.WithSize(80, 24))
			d := &display{out: terminal, color: !c.noColor, qr: c.qr, width: 80, height: 24}
			for _, link := range c.links {
				v := view{link: link, now: now}
				if v.linked() {
					v.pods = podsOf(link, time.Time{})
				}
				if err := d.show(v); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, name, terminal.String())
			for _, ground := range []theme{dark, light} {
				if got := scan(terminal, ground); got != c.url {
					t.Errorf("a scanner reads %q on ground %d, want %q", got, ground.ground.Y, c.url)
				}
			}
		})
	}
}

// golden compares a screen with the one in testdata.
func golden(t *testing.T, name, screen string) {
	t.Helper()
	lines := strings.Split(screen, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	screen = strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(screen), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), screen); diff != "" {
		t.Errorf("the screen is not that of %s (-want +got):\n%s", file, diff)
	}
}

// scan photographs a terminal and reads the QR code; "": there is none.
func scan(terminal vt10x.View, ground theme) string {
	const scale = 6 // pixels of half a character
	columns, rows := terminal.Size()
	photo := image.NewGray(image.Rect(0, 0, columns*scale, rows*2*scale))
	shade := func(c vt10x.Color) color.Gray {
		switch c {
		case vt10x.DefaultFG:
			return ground.text
		case vt10x.DefaultBG:
			return ground.ground
		case 16:
			return color.Gray{Y: 0}
		case 231:
			return color.Gray{Y: 255}
		}
		return color.Gray{Y: 128}
	}
	terminal.Lock() // The plugin may be drawing.
	for y := range rows * 2 * scale {
		for x := range columns * scale {
			cell := terminal.Cell(x/scale, y/scale/2)
			set := cell.Char == '█' || cell.Char == '▀' && y/scale%2 == 0 || cell.Char == '▄' && y/scale%2 == 1
			c := cell.BG
			if set {
				c = cell.FG
			}
			photo.SetGray(x, y, shade(c))
		}
	}
	terminal.Unlock()
	picture, err := gozxing.NewBinaryBitmapFromImage(photo)
	if err != nil {
		return err.Error()
	}
	result, err := qrcode.NewQRCodeReader().Decode(picture, nil)
	if err != nil {
		return ""
	}
	return result.GetText()
}

// Without colors a QR code is drawn on request only, for dark terminals.
func TestRequestedCodeWithoutColorsSuitsDarkTerminals(t *testing.T) {
	t.Parallel()
	terminal := vt10x.New(vt10x.WithSize(80, 24))
	d := &display{out: terminal, qr: "always", width: 80, height: 24}
	if err := d.show(view{link: awaiting(linkURL), now: now}); err != nil {
		t.Fatal(err)
	}
	if got := scan(terminal, dark); got != linkURL {
		t.Errorf("a scanner reads %q, want %q", got, linkURL)
	}
}

// What is too wide or too high is not drawn over and over, for it would scroll.
func TestNarrowTerminalGetsPlainLines(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{30, 24}, {80, 5}, {0, 0}} {
		var out strings.Builder
		d := &display{out: &out, color: true, qr: "auto", width: size[0], height: size[1], printed: map[string]bool{}}
		for _, link := range []*v1alpha1.PlexLink{awaiting(linkURL), awaiting(linkURL), linked()} {
			if err := d.show(view{link: link, now: now}); err != nil {
				t.Fatal(err)
			}
		}
		want := "PlexLink kometa in namespace media\n" +
			"Enter the PIN 7KQX at https://plex.tv/link/?pin=7KQX before 05:39 UTC\n" +
			"  ✓ PIN       The PIN was entered by alice\n" +
			"  ✓ Server    My Plex Server answers at http://192.168.1.10:32400 (Local)\n" +
			"  ✓ Secret    kometa has the keys KOMETA_PLEX_TOKEN, KOMETA_PLEX_URL\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%v: got other lines (-want +got):\n%s", size, diff)
		}
	}
}

func TestPlainLinesShowWhatAFollowerWaitsFor(t *testing.T) {
	t.Parallel()
	const want = "Waiting for PlexLink kometa to be linked; run: kubectl plexlink link -n media kometa"
	lines := view{link: following(), now: now}.plainLines(nil)
	if len(lines) != 2 || !strings.HasSuffix(lines[1], want) {
		t.Errorf("got the lines %q, want the last to tell %q", lines, want)
	}
}

func TestMediumTerminalGetsThePINWithoutCode(t *testing.T) {
	t.Parallel()
	var code []string
	for range 20 {
		code = append(code, strings.Repeat("█", 37))
	}
	v := view{link: awaiting(linkURL), now: now}
	if v.screen(60, 24, code) != nil {
		t.Error("code and text were drawn in 60 columns")
	}
	if v.screen(60, 24, nil) == nil {
		t.Error("the text was not drawn in 60 columns")
	}
}

func TestEveryLetterOfAPINIsDrawn(t *testing.T) {
	t.Parallel()
	seen := map[string]rune{}
	for _, letter := range "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		lines := largeLines(string(letter))
		picture := strings.Join(lines, "\n")
		if len(lines) != 5 || seen[picture] != 0 || strings.Trim(picture, " \n") == "" {
			t.Errorf("%c is drawn like %c, in %d lines:\n%s", letter, seen[picture], len(lines), picture)
		}
		seen[picture] = letter
	}
}
