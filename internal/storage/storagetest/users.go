package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// User makes a user who may do these actions in a bucket and its objects, and
// nothing else, beside those made before. It returns the environment's
// variables that a process needs to be that user.
func (s *Killable) User(bucket, name string, actions ...string) []string {
	s.t.Helper()
	secret := name + "-secret"
	s.admin("create-user", "--access", name, "--secret", secret, "--role", "user")
	s.policy = append(s.policy, map[string]any{
		"Effect": "Allow", "Principal": map[string]any{"AWS": []string{name}}, "Action": actions,
		"Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"},
	})
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": s.policy})
	if err != nil {
		s.t.Fatalf("make user: %v", err)
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + s.Addr), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	_, err = client.PutBucketPolicy(context.Background(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: aws.String(string(text))})
	if err != nil {
		s.t.Fatalf("make user: %v", err)
	}
	return env(name, secret)
}

// admin asks the server, which may just have been started.
func (s *Killable) admin(args ...string) {
	s.t.Helper()
	args = append([]string{"admin", "--access", accessKey, "--secret", secretKey, "--endpoint-url", "http://" + s.Addr}, args...)
	var failed error
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(s.bin, args...).CombinedOutput()
		if err == nil {
			return
		}
		failed = errors.Join(err, errors.New(string(out)))
	}
	s.t.Fatalf("%v: %v", args, failed)
}
