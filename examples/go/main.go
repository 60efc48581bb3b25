// Streams the answer to a question: stream 127.0.0.1:50051 "Why is the sky blue?".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"phalanx.example/stream/phalanxv1"
)

func main() {
	target, question := os.Args[1], os.Args[2]
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	role, maxNewTokens := "user", int32(200)
	stream, err := phalanxv1.NewInferenceClient(conn).Generate(ctx, &phalanxv1.GenerateRequest{
		Input: &phalanxv1.GenerateRequest_Chat{Chat: &phalanxv1.Chat{
			Messages: []*phalanxv1.Message{{Role: &role, Content: &question}},
		}},
		MaxNewTokens: &maxNewTokens,
	})
	if err != nil {
		log.Fatal(err)
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(event.GetDelta().GetText())
		if finished := event.GetFinished(); finished != nil {
			fmt.Printf("\n[%d tokens]\n", finished.GetUsage().GetCompletionTokens())
		}
	}
}
