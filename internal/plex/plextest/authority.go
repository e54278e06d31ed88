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

// authority is the private CA that signs the media servers' certificates. Certificates are judged by real time.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() *authority {
	a := &authority{key: newKey()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "plextest CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate = sign(template, template, a.key, a.key)
	return a
}

// serverConfig makes a certificate for loopback and one name of plex.direct's kind.
func (a *authority) serverConfig(directName string) *tls.Config {
	key := newKey()
	leaf := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: directName}, DNSNames: []string{"localhost", directName},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, key, a.key)
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
	}
}

// CertPool returns the authority that signs the media servers' https certificates, for the client to trust.
func (s *Simulator) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.certificate)
	return pool
}

// CertPEM returns the certificate of CertPool in PEM form, as it is kept in files and Secrets.
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
