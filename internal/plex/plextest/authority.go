package plextest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// authority is the private CA of all certificates. It signs with an intermediate certificate, as public authorities do.
// Certificates are validated in real time.
type authority struct {
	certificate  *x509.Certificate // what clients trust
	intermediate *x509.Certificate
	key          *ecdsa.PrivateKey // of the intermediate certificate
}

func newAuthority() *authority {
	a := &authority{key: newKey()}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	rootKey := newKey()
	root := template("plextest CA")
	a.certificate = sign(root, root, rootKey, rootKey)
	a.intermediate = sign(template("plextest intermediate CA"), a.certificate, a.key, rootKey)
	return a
}

// chain is a server's certificate with the intermediate one after it.
type chain tls.Certificate

// issue returns a certificate for loopback and the names.
func (a *authority) issue(names ...string) chain {
	key := newKey()
	leaf := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: append([]string{"localhost"}, names...),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.intermediate, key, a.key)
	return chain{Certificate: [][]byte{leaf.Raw, a.intermediate.Raw}, PrivateKey: key}
}

// config serves the chain, without the intermediate certificate while incomplete, which may be nil, is true.
func (c chain) config(incomplete func() bool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		certificate := tls.Certificate(c)
		if incomplete != nil && incomplete() {
			certificate.Certificate = certificate.Certificate[:1]
		}
		return &certificate, nil
	}}
}

// CertPool returns the authority of the https certificates of plex.tv and the media servers, for clients to trust.
func (s *Simulator) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.certificate)
	return pool
}

// CertPEM returns the certificate of CertPool in PEM form, for files and Secrets.
func (s *Simulator) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.authority.certificate.Raw})
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	template.SerialNumber = new(big.Int).SetBytes(randomBytes(8))
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(1, 0, 0)
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return certificate
}
