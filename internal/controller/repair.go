package controller

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
)

const (
	// repairLimit is the longest back-off between repairs: two writers that disagree must not write all day.
	repairLimit = 5 * time.Minute
	// contestedRepairs is the number of consecutive repairs after which a Secret is contested.
	contestedRepairs = 3
)

// repair reverts changes by other clients; live is nil if they deleted the Secret. Repeated changes are reverted with
// increasing delay.
func (r *Reconciler) repair(ctx context.Context, s *scope, live, desired *corev1.Secret) error {
	if wait := r.pace.Remaining(s.pace(), pace.RepairSecret, s.now); wait > 0 {
		s.requeue(wait)
		if r.pace.Failures(s.pace(), pace.RepairSecret) < contestedRepairs {
			return errLater
		}
		s.memory.contested = secretContested(live, desired)
		return s.contest()
	}
	if live == nil {
		if err := r.create(ctx, s, desired); err != nil {
			return err
		}
	} else {
		if err := r.apply(ctx, live, desired); err != nil {
			return r.secretTrouble(ctx, s, pace.WriteSecret, "repair Secret "+desired.Name, err)
		}
		s.tell(secretRepaired(desired.Name))
	}
	s.requeue(r.pace.Failed(s.pace(), pace.RepairSecret, repairLimit, s.now))
	r.metrics.secretRepairs.Inc()
	return s.contest()
}

// contest returns the obstacle that another client keeps changing the target Secret, or nil.
func (s *scope) contest() error {
	if s.memory.contested == nil {
		return nil
	}
	return s.memory.contested
}

// editorsOf returns the field managers that own what differs from the desired Secret.
func editorsOf(live, desired *corev1.Secret) string {
	var editors []string
	for _, entry := range live.ManagedFields {
		if entry.FieldsV1 == nil || entry.Manager == v1alpha1.ManagedBy || slices.Contains(editors, entry.Manager) {
			continue
		}
		for key, value := range desired.Data {
			if !bytes.Equal(live.Data[key], value) && strings.Contains(entry.FieldsV1.GetRawString(), `"f:`+key+`"`) {
				editors = append(editors, entry.Manager)
				break
			}
		}
	}
	slices.Sort(editors)
	return strings.Join(slices.Compact(editors), ", ")
}
