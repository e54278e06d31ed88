package main

import (
	"strings"

	"rsc.io/qr"
)

// bitmap is a picture of black and white points.
type bitmap struct {
	width, height int
	at            func(x, y int) bool
}

// halfBlocks draws two rows of a bitmap in each line: characters are twice as high as they are wide.
func (b bitmap) halfBlocks() []string {
	var lines []string
	for y := 0; y < b.height; y += 2 {
		var line strings.Builder
		for x := range b.width {
			upper, lower := b.at(x, y), y+1 < b.height && b.at(x, y+1)
			switch {
			case upper && lower:
				line.WriteRune('█')
			case upper:
				line.WriteRune('▀')
			case lower:
				line.WriteRune('▄')
			default:
				line.WriteRune(' ')
			}
		}
		lines = append(lines, line.String())
	}
	return lines
}

// quietZone is the light border that the standard asks for around a QR code, in modules.
const quietZone = 4

// qrLines draws a QR code. With color it is black on white in any terminal. Without, the terminal's own color of text is
// the light one, which is right for light text on dark ground.
func qrLines(text string, color bool) ([]string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, err
	}
	size := code.Size + 2*quietZone
	lines := bitmap{size, size + size%2, func(x, y int) bool {
		dark := code.Black(x-quietZone, y-quietZone)
		return dark == color
	}}.halfBlocks()
	for i := range lines {
		if color {
			lines[i] = "\x1b[38;5;16;48;5;231m" + lines[i] + "\x1b[0m"
		}
	}
	return lines, nil
}

// font has the letters and digits of PINs, 5 points wide and 7 high: a hexadecimal row of points after the other.
var font = func() map[rune]string {
	const rows = "0:0E11131519110E 1:040C040404040E 2:0E11010204081F 3:1F02040201110E 4:02060A121F0202 5:1F101E0101110E " +
		"6:0608101E11110E 7:1F010204080808 8:0E11110E11110E 9:0E11110F01020C A:0E11111F111111 B:1E11111E11111E " +
		"C:0E11101010110E D:1C12111111121C E:1F10101E10101F F:1F10101E101010 G:0E11101711110F H:1111111F111111 " +
		"I:0E04040404040E J:0702020202120C K:11121418141211 L:1010101010101F M:111B1515111111 N:11111915131111 " +
		"O:0E11111111110E P:1E11111E101010 Q:0E11111115120D R:1E11111E141211 S:0F10100E01011E T:1F040404040404 " +
		"U:1111111111110E V:11111111110A04 W:1111111515150A X:11110A040A1111 Y:1111110A040404 Z:1F01020408101F"
	letters := map[rune]string{}
	for letter := range strings.FieldsSeq(rows) {
		letters[rune(letter[0])] = letter[2:]
	}
	return letters
}()

// largeLines draws a PIN large; nil: it has characters that PINs do not have.
func largeLines(text string) []string {
	const width, height = 5, 7
	letters := []rune(text)
	for _, letter := range letters {
		if font[letter] == "" {
			return nil
		}
	}
	return bitmap{len(letters)*(width+2) - 2, height, func(x, y int) bool {
		column := x % (width + 2)
		if column >= width {
			return false
		}
		row := font[letters[x/(width+2)]][2*y : 2*y+2]
		points := strings.IndexByte("0123456789ABCDEF", row[0])<<4 | strings.IndexByte("0123456789ABCDEF", row[1])
		return points>>(width-1-column)&1 == 1
	}}.halfBlocks()
}
