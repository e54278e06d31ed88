package supervise

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parent names the variable that makes this test the parent that is killed, with its folder as value.
const parent = "SUPERVISE_TEST_PARENT"

func TestMain(m *testing.M) {
	dir := os.Getenv(parent)
	if dir == "" {
		os.Exit(m.Run())
	}
	group := &Group{Dir: dir}
	child := exec.Command("sleep", "600")
	child.Stdout = os.Stdout
	if err := group.Start(child); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("started\n")
	select {}
}

func TestProgramDiesWithItsParent(t *testing.T) {
	t.Parallel()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stdout = append(os.Environ(), parent+"="+t.TempDir()), in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	if line, err := reader.ReadString('\n'); line != "started\n" {
		t.Fatalf("the parent printed %q, %v; want started", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	// The pipe ends when the last process that can write to it has exited.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Errorf("the program still runs after its parent was killed: %v", err)
	}
}

func TestExitBeforeStopFails(t *testing.T) {
	t.Parallel()
	ctx, fail := context.WithCancelCause(t.Context())
	group := &Group{Dir: t.TempDir(), Fail: fail}
	if err := group.Start(exec.Command("sh", "-c", "echo no disk >&2; exit 3")); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	got := context.Cause(ctx).Error()
	for _, want := range []string{"sh exited unexpectedly", "exit status 3", "no disk"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want it to contain %q", got, want)
		}
	}
	if err := group.Stop(); err != nil {
		t.Errorf("Stop after the exit: got %v, want no error", err)
	}
}

func TestStopsInReverseOrder(t *testing.T) {
	t.Parallel()
	failed := func(err error) { t.Errorf("got a failure from a program that was stopped: %v", err) }
	group := &Group{Dir: t.TempDir(), Fail: failed}
	var got []string
	group.OnStop(func() error { got = append(got, "first"); return nil })
	program := exec.Command("sleep", "600")
	if err := group.Start(program); err != nil {
		t.Fatal(err)
	}
	group.OnStop(func() error {
		if err := program.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("the program was stopped before what was started after it: %v", err)
		}
		got = append(got, "last")
		return nil
	})
	if err := group.Stop(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"last", "first"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if program.ProcessState == nil {
		t.Error("the program still runs after Stop")
	}
}

func TestOutputReportsWhatTheProgramPrinted(t *testing.T) {
	t.Parallel()
	got, err := Output(exec.Command("sh", "-c", "echo fine"))
	if got != "fine\n" || err != nil {
		t.Errorf("got %q, %v; want fine", got, err)
	}
	_, err = Output(exec.Command("sh", "-c", "echo broken >&2; exit 2"))
	if want := "sh -c echo broken >&2; exit 2: exit status 2: broken"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
